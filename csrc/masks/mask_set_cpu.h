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
#include "masks/draw_polygon_cpu.h"
#include "masks/mask_box_cpu.h"
#include "masks/mask_set.h"
#include "masks/rle_decode.h"
#include "masks/run_set_cpu.h"

namespace ldie::masks {

// Rows [top, bottom) of 64-pixel words [first, end), column of words by column: of a pair of masks long pieces then
// stand together, where the words that both have of a row are few. Rows come by kRowsAtOnce, those outside of the box
// zero, so that every piece is whole registers.
struct CroppedMask {
  static constexpr int64_t kRowsAtOnce = 8;

  int64_t top = 0, bottom = 0, first = 0, end = 0, area = 0;
  std::vector<uint64_t> bits;

  int64_t rows() const { return bottom - top; }
  int64_t place(int64_t row, int64_t column) const { return (column - first) * rows() + row - top; }
  const uint64_t* word(int64_t row, int64_t column) const { return bits.data() + place(row, column); }
  uint64_t* word(int64_t row, int64_t column) { return bits.data() + place(row, column); }
};

inline int64_t intersection(const CroppedMask& a, const CroppedMask& b) {
  static_assert(CroppedMask::kRowsAtOnce % kLanes<uint64_t> == 0);
  const int64_t top = std::max(a.top, b.top), rows = std::min(a.bottom, b.bottom) - top;
  const int64_t first = std::max(a.first, b.first), end = std::min(a.end, b.end);
  if (rows <= 0 || first >= end) return 0;
  Lanes<uint64_t> pixels{};
  for (int64_t column = first; column < end; ++column) {
    const uint64_t *own = a.word(top, column), *other = b.word(top, column);
    for (int64_t i = 0; i < rows; i += kLanes<uint64_t>) {
      pixels += count_lane_bits(load_lanes(own + i) & load_lanes(other + i));
    }
  }
  uint64_t sum = 0;
  for (int64_t lane = 0; lane < kLanes<uint64_t>; ++lane) sum += pixels[lane];
  return int64_t(sum);
}

// Keeps its memory from mask to mask.
class MaskCropper {
 public:
  explicit MaskCropper(const MaskSet& set) : set_(set) {}

  CroppedMask crop(int64_t mask) {
    if (set_.has_pixels()) return crop_pixels(mask);
    return set_.form == MaskForm::runs ? crop_runs(mask) : crop_polygons(mask);
  }

 private:
  CroppedMask crop_runs(int64_t mask) {
    MaskBox box;
    for_each_run(set_.runs, mask, [&](int64_t begin, int64_t end) { box.include_run(begin, end, set_.height); });
    if (box.empty()) return {};
    canvas_.place(box.top, box.bottom, box.left / 64, ceil_div(box.right, 64));
    for_each_run(set_.runs, mask, [&](int64_t begin, int64_t end) {
      toggle_run(begin, end, set_.height, box.left, box.right,
                 [&](int64_t row, int64_t column) { canvas_.toggle(row, column); });
    });
    canvas_.inherit();
    const uint64_t* word = canvas_.bits().data();
    return cropped(box, [&](int64_t, int64_t) { return *word++; });
  }

  // The parts are drawn one by one and unite.
  CroppedMask crop_polygons(int64_t mask) {
    const RowRange parts = set_.polygons.parts_of(mask);
    const auto count = size_t(std::max<int64_t>(0, parts.end - parts.begin));
    if (pieces_.size() < count) pieces_.resize(count);
    MaskBox box;
    for (size_t i = 0; i < count; ++i) {
      draw_part(pieces_[i], set_.polygons, set_.polygons.points_of(parts.begin + int64_t(i)), PolygonFrame(),
                set_.height, set_.width);
      box.include(pieces_[i].box());
    }
    if (box.empty()) return {};
    CroppedMask united = zeros(box);
    for (size_t i = 0; i < count; ++i) {
      pieces_[i].for_each_word([&](int64_t row, int64_t column, uint64_t bits) {
        uint64_t& word = *united.word(row, column);
        united.area += count_bits(bits & ~word);
        word |= bits;
      });
    }
    return united;
  }

  CroppedMask crop_pixels(int64_t mask) const {
    const MaskBox box = pixel_box(set_, mask);
    if (box.empty()) return {};
    const uint8_t* const pixels = set_.mask(mask);
    return cropped(box, [&](int64_t row, int64_t column) { return word(pixels + row * set_.row_bytes(), column); });
  }

  static CroppedMask zeros(const MaskBox& box) {
    constexpr int64_t kStep = CroppedMask::kRowsAtOnce;
    CroppedMask mask{
        box.top / kStep * kStep, round_up(box.bottom, kStep), box.left / 64, ceil_div(box.right, 64), 0, {}};
    mask.bits.resize(size_t((mask.end - mask.first) * mask.rows()));
    return mask;
  }

  // Calls word_at(row, column of words) within the box, row by row.
  template <typename WordAt>
  static CroppedMask cropped(const MaskBox& box, const WordAt& word_at) {
    CroppedMask mask = zeros(box);
    for (int64_t row = box.top; row < box.bottom; ++row) {
      uint64_t* to = mask.word(row, mask.first);
      for (int64_t column = mask.first; column < mask.end; ++column, to += mask.rows()) {
        *to = word_at(row, column);
        mask.area += count_bits(*to);
      }
    }
    return mask;
  }

  uint64_t word(const uint8_t* row, int64_t column) const {
    if (set_.form == MaskForm::packed) return load_word(row + 8 * column, set_.row_bytes() - 8 * column);
    return gather_word(row + 64 * column, set_.width - 64 * column);
  }

  const MaskSet& set_;
  BitCanvas canvas_;
  std::vector<BitCanvas> pieces_;
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
