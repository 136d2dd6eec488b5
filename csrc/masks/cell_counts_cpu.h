// SPDX-License-Identifier: Apache-2.0
// How many pixels of a mask lie in each cell of a stride, on the CPU, within the mask's box.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/bits_cpu.h"
#include "core/lanes_cpu.h"
#include "masks/mask_set_cpu.h"
#include "masks/mask_target_pyramid.h"

namespace ldie::masks {

// Of cells [top, bottom) x [left, right), all of them even, so that the cells of the next stride cover four each; those
// that touch no pixel of the box are 0. Memory is kept from mask to mask.
template <typename T>
struct CellCounts {
  int64_t top = 0, bottom = 0, left = 0, right = 0;
  std::vector<T> counts;

  // Zeros, of these cells at least.
  void place(int64_t first_row, int64_t end_row, int64_t first_column, int64_t end_column) {
    top = first_row / 2 * 2;
    bottom = round_up(end_row, 2);
    left = first_column / 2 * 2;
    right = round_up(end_column, 2);
    counts.assign(size_t((bottom - top) * (right - left)), 0);
  }

  int64_t offset(int64_t y, int64_t x) const { return (y - top) * (right - left) + x - left; }
  const T* from(int64_t y, int64_t x) const { return counts.data() + offset(y, x); }
  T* from(int64_t y, int64_t x) { return counts.data() + offset(y, x); }
};

// Stride 1: the pixels themselves.
inline void count_pixels(const CroppedMask& mask, CellCounts<uint8_t>& cells) {
  cells.place(mask.top, mask.bottom, 64 * mask.first, 64 * mask.end);
  for (int64_t y = mask.top; y < mask.bottom; ++y) {
    for (int64_t column = mask.first; column < mask.end; ++column) {
      const uint64_t bits = *mask.word(y, column);
      uint8_t* const to = cells.from(y, 64 * column);
      for (int64_t x = 0; x < 64; x += 8) {
        const uint64_t eight = spread_8_bits(bits >> x);
        std::memcpy(to + x, &eight, sizeof eight);
      }
    }
  }
}

// The bytes of two words in turn, from the first of a.
inline void store_in_turn(uint8_t* to, uint64_t a, uint64_t b) {
  typedef uint8_t Bytes __attribute__((vector_size(8)));
  const auto turn = __builtin_shufflevector((Bytes)a, (Bytes)b, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  std::memcpy(to, &turn, sizeof turn);
}

// Stride 4: rows lie side by side in registers, and so lanes add up.
inline void count_squares(const CroppedMask& mask, CellCounts<uint8_t>& cells) {
  constexpr int64_t kSquares = kLanes<uint64_t>, kRows = kSquare * kSquares, kColumns = 64 / kSquare;
  cells.place(mask.top / kSquare, mask.bottom / kSquare, kColumns * mask.first, kColumns * mask.end);
  for (int64_t column = mask.first; column < mask.end; ++column) {
    for (int64_t row = mask.top; row < mask.bottom; row += kRows) {
      const uint64_t* words = mask.word(row, column);
      const int64_t rows = std::min(kRows, mask.bottom - row);
      uint64_t padded[kRows] = {};
      if (rows < kRows) {
        std::copy(words, words + rows, padded);
        words = padded;
      }
      const auto fours = [&](int64_t i) { return count_fours(load_lanes(words + i * kSquares)); };
      const auto pairs = [](const Lanes<uint64_t>& a, const Lanes<uint64_t>& b) {
        return even_lanes<uint64_t>(a, b) + odd_lanes<uint64_t>(a, b);
      };
      const Lanes<uint64_t> first = pairs(fours(0), fours(1)), second = pairs(fours(2), fours(3));
      const Lanes<uint64_t> upper = even_lanes<uint64_t>(first, second), lower = odd_lanes<uint64_t>(first, second);
      const Lanes<uint64_t> even = even_squares(upper, lower), odd = odd_squares(upper, lower);
      for (int64_t i = 0; i < rows / kSquare; ++i) {
        store_in_turn(cells.from(row / kSquare + i, kColumns * column), even[i], odd[i]);
      }
    }
  }
}

// From the cells of a stride to those of the next.
template <typename From, typename To>
void halve(const CellCounts<From>& fine, CellCounts<To>& coarse) {
  const int64_t left = fine.left / 2, cells = fine.right / 2 - left;
  coarse.place(fine.top / 2, fine.bottom / 2, left, fine.right / 2);
  for (int64_t y = fine.top / 2; y < fine.bottom / 2; ++y) {
    const From *const upper = fine.from(2 * y, fine.left), *const lower = fine.from(2 * y + 1, fine.left);
    To* const to = coarse.from(y, left);
    for (int64_t i = 0; i < cells; ++i) {
      to[i] = To(To(upper[2 * i]) + To(upper[2 * i + 1]) + To(lower[2 * i]) + To(lower[2 * i + 1]));
    }
  }
}

// The counts of one mask at rising strides: bytes as long as they hold them.
class CountPyramid {
 public:
  void begin(const CroppedMask& mask, int64_t first_stride) {
    stride_ = first_stride < kSquare ? 1 : kSquare;
    stride_ == 1 ? count_pixels(mask, bytes_) : count_squares(mask, bytes_);
  }

  // Calls use(counts) with those of a stride that is no less than before.
  template <typename Use>
  void at(int64_t stride, const Use& use) {
    for (; stride_ < stride; stride_ *= 2) halve_once();
    stride <= kLargestOfBytes ? use(bytes_) : use(words_);
  }

 private:
  static constexpr int64_t kLargestOfBytes = 8;

  void halve_once() {
    if (stride_ < kLargestOfBytes) {
      halve(bytes_, next_bytes_);
      std::swap(bytes_, next_bytes_);
    } else if (stride_ == kLargestOfBytes) {
      halve(bytes_, words_);
    } else {
      halve(words_, next_words_);
      std::swap(words_, next_words_);
    }
  }

  int64_t stride_ = 1;
  CellCounts<uint8_t> bytes_, next_bytes_;
  CellCounts<uint32_t> words_, next_words_;
};

}  // namespace ldie::masks
