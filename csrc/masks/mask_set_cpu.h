// SPDX-License-Identifier: Apache-2.0
// Masks cut down to the bits of their own box, on the CPU: pairs that lie apart cost nothing, others the bits that both
// boxes hold.
#pragma once

#include <algorithm>
#include <vector>

#include "core/bits.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "masks/bit_canvas_cpu.h"
#include "masks/mask_set.h"
#include "masks/rle_decode.h"

namespace ldie::masks {

// Rows [top, bottom) of 64-pixel words [first, end).
struct CroppedMask {
  int64_t top = 0, bottom = 0, first = 0, end = 0, area = 0;
  std::vector<uint64_t> bits;

  int64_t words() const { return end - first; }
  const uint64_t* word(int64_t row, int64_t column) const {
    return bits.data() + (row - top) * words() + column - first;
  }
};

inline int64_t intersection(const CroppedMask& a, const CroppedMask& b) {
  const int64_t top = std::max(a.top, b.top), bottom = std::min(a.bottom, b.bottom);
  const int64_t first = std::max(a.first, b.first), count = std::min(a.end, b.end) - first;
  int64_t pixels = 0;
  for (int64_t y = top; y < bottom && count > 0; ++y) {
    const uint64_t *own = a.word(y, first), *other = b.word(y, first);
    for (int64_t i = 0; i < count; ++i) pixels += __builtin_popcountll(own[i] & other[i]);
  }
  return pixels;
}

// Keeps its memory from mask to mask.
class MaskCropper {
 public:
  explicit MaskCropper(const MaskSet& set) : set_(set), words_(ceil_div(set.width, 64)) {}

  CroppedMask crop(int64_t mask) {
    CroppedMask cropped = set_.form == MaskForm::runs ? crop_runs(mask) : crop_pixels(mask);
    for (const uint64_t word : cropped.bits) cropped.area += __builtin_popcountll(word);
    return cropped;
  }

 private:
  template <typename Use>
  void for_each_run(int64_t mask, const Use& use) const {
    const RowRange runs = row_range(set_.offsets, mask, set_.runs);
    int64_t position = 0;
    for (int64_t i = runs.begin; i < runs.end; ++i) {
      const int64_t end = position + set_.counts[i];
      if ((i - runs.begin) % 2 == 1) use(position, end);
      position = end;
    }
  }

  CroppedMask crop_runs(int64_t mask) {
    MaskBox box;
    for_each_run(mask, [&](int64_t begin, int64_t end) { box.include_run(begin, end, set_.height); });
    if (box.empty()) return {};
    CroppedMask cropped{box.top, box.bottom, box.left / 64, ceil_div(box.right, 64), 0, {}};
    canvas_.place(cropped.top, cropped.bottom, cropped.first, cropped.end);
    for_each_run(mask, [&](int64_t begin, int64_t end) {
      toggle_run(begin, end, set_.height, box.left, box.right,
                 [&](int64_t row, int64_t column) { canvas_.toggle(row, column); });
    });
    canvas_.inherit();
    cropped.bits = canvas_.bits();
    return cropped;
  }

  CroppedMask crop_pixels(int64_t mask) {
    const uint8_t* const pixels = set_.masks + mask * set_.mask_bytes();
    pixels_.resize(size_t(set_.height * words_));
    MaskBox box;  // of words
    for (int64_t y = 0; y < set_.height; ++y) {
      uint64_t* const row = pixels_.data() + y * words_;
      load_row(pixels + y * set_.row_bytes(), row);
      for (int64_t i = 0; i < words_; ++i) {
        if (row[i] != 0) box.include({i, y, i + 1, y + 1});
      }
    }
    if (box.empty()) return {};
    CroppedMask cropped{box.top, box.bottom, box.left, box.right, 0, {}};
    for (int64_t y = box.top; y < box.bottom; ++y) {
      const uint64_t* const row = pixels_.data() + y * words_;
      cropped.bits.insert(cropped.bits.end(), row + box.left, row + box.right);
    }
    return cropped;
  }

  void load_row(const uint8_t* pixels, uint64_t* row) const {
    const int64_t bytes = set_.row_bytes(), bytes_per_word = set_.form == MaskForm::dense ? 64 : 8;
    for (int64_t i = 0; i < words_; ++i) {
      const uint8_t* const begin = pixels + i * bytes_per_word;
      const int64_t count = std::min(bytes_per_word, bytes - i * bytes_per_word);
      row[i] = set_.form == MaskForm::dense ? gather_bits(begin, count) : load_bytes(begin, count);
    }
  }

  static uint64_t load_bytes(const uint8_t* bytes, int64_t count) {
    uint64_t word = 0;
    if (count == 8) {  // a copy of known size is one instruction
      std::memcpy(&word, bytes, 8);
    } else {
      std::memcpy(&word, bytes, size_t(count));
    }
    return word;
  }

  static uint64_t gather_bits(const uint8_t* pixels, int64_t count) {
    uint64_t word = 0;
    for (int64_t i = 0; i < count; i += 8) {
      const uint64_t own = load_bytes(pixels + i, std::min<int64_t>(8, count - i));
      if (own != 0) word |= gather_8_bits(own) << i;
    }
    return word;
  }

  const MaskSet& set_;
  const int64_t words_;
  BitCanvas canvas_;
  std::vector<uint64_t> pixels_;
};

inline int64_t masks_per_task(const MaskSet& set) {
  constexpr int64_t kBytesPerTask = 1 << 17;
  return kBytesPerTask / (set.mask_bytes() + 1) + 1;
}

inline std::vector<CroppedMask> crop_masks(const MaskSet& set) {
  std::vector<CroppedMask> cropped(static_cast<size_t>(set.count));
  parallel_for(set.count, masks_per_task(set), [&](int64_t begin, int64_t end) {
    MaskCropper cropper(set);
    for (int64_t n = begin; n < end; ++n) cropped[size_t(n)] = cropper.crop(n);
  });
  return cropped;
}

}  // namespace ldie::masks
