// SPDX-License-Identifier: Apache-2.0
// A piece of a mask as bits, on the CPU, drawn by toggling where columns change.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/bits_cpu.h"
#include "masks/mask_set.h"

namespace ldie::masks {

// Rows [top, bottom) and 64-column words [first_word, end_word) of an image. toggle() notes that a column changes its
// value at a row; inherit() lets each row take over what the one above it says, so that a pixel is the parity of the
// changes in its column, in its row or above. Memory is kept from piece to piece.
class BitCanvas {
 public:
  void place(int64_t top, int64_t bottom, int64_t first_word, int64_t end_word) {
    top_ = top;
    bottom_ = std::max(top, bottom);
    first_word_ = first_word;
    words_ = std::max(first_word, end_word) - first_word;
    bits_.assign(size_t((bottom_ - top_) * words_), 0);
  }

  // Changes below the last row do not show.
  void toggle(int64_t row, int64_t column) {
    if (row < bottom_) bits_[size_t((row - top_) * words_ + column / 64 - first_word_)] ^= uint64_t(1) << column % 64;
  }

  void inherit() {
    for (size_t i = size_t(words_); i < bits_.size(); ++i) bits_[i] ^= bits_[i - size_t(words_)];
  }

  // Row by row, the words of the piece.
  const std::vector<uint64_t>& bits() const { return bits_; }

  // All of it.
  MaskBox box() const { return bits_.empty() ? MaskBox() : MaskBox{64 * first_word_, top_, 64 * end_word(), bottom_}; }

  // Calls use(row, column of words, bits) for those that are not 0.
  template <typename Use>
  void for_each_word(const Use& use) const {
    const uint64_t* bits = bits_.data();
    for (int64_t y = top_; y < bottom_; ++y) {
      for (int64_t word = first_word_; word < end_word(); ++word, ++bits) {
        if (*bits != 0) use(y, word, *bits);
      }
    }
  }

  // Adds the piece to a mask of the image: rows of row_bytes, a byte a pixel or 8 pixels a byte.
  void unite_into(uint8_t* mask, int64_t row_bytes, bool packed) const {
    for_each_word([&](int64_t y, int64_t word, uint64_t bits) {
      uint8_t* const row = mask + y * row_bytes;
      packed ? unite_packed(row, row_bytes, word, bits) : unite_dense(row, row_bytes, word, bits);
    });
  }

 private:
  int64_t end_word() const { return first_word_ + words_; }

  static void unite_packed(uint8_t* row, int64_t row_bytes, int64_t word, uint64_t bits) {
    unite_bytes(row + 8 * word, std::min<int64_t>(8, row_bytes - 8 * word), bits);
  }
  static void unite_dense(uint8_t* row, int64_t width, int64_t word, uint64_t bits) {
    for (int64_t x = 64 * word; bits != 0; x += 8, bits >>= 8) {
      unite_bytes(row + x, std::min<int64_t>(8, width - x), spread_8_bits(bits));
    }
  }
  static void unite_bytes(uint8_t* bytes, int64_t count, uint64_t value) {
    uint64_t old = 0;
    if (count == 8) {  // a copy of known size is one instruction
      std::memcpy(&old, bytes, 8);
      old |= value;
      std::memcpy(bytes, &old, 8);
      return;
    }
    std::memcpy(&old, bytes, size_t(count));
    old |= value;
    std::memcpy(bytes, &old, size_t(count));
  }

  int64_t top_ = 0, bottom_ = 0, first_word_ = 0, words_ = 0;
  std::vector<uint64_t> bits_;
};

}  // namespace ldie::masks
