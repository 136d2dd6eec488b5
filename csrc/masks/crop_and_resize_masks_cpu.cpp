// SPDX-License-Identifier: Apache-2.0
// The cells that the samples of a RoI's columns read are gathered once for each row of the mask, and rows of zeros are
// left out; bins are then summed side by side.
#include <algorithm>
#include <vector>

#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "masks/crop_and_resize_masks.h"

namespace ldie::masks {
namespace {

// What one thread needs to crop one RoI after the other.
template <typename A>
class Cropper {
 public:
  explicit Cropper(const CropMasks<A>& args) : args_(args), sums_(size_t(args.size)) {}

  void crop(int64_t roi) {
    const int64_t mask = args_.mask_of(roi), first = roi * args_.size * args_.size;
    const roi::RoiAxis<A> x = args_.axis_x(roi), y = args_.axis_y(roi);
    if (mask >= 0) place_columns(x);
    for (CellRow& row : cell_rows_) row.row = -1;
    for (int64_t p = 0; p < args_.size; ++p) {
      std::fill(sums_.begin(), sums_.end(), A(0));
      roi::AxisPlace<A> place;
      for (int32_t sample = 0; mask >= 0 && samples_ > 0 && sample < y.grid; ++sample) {
        if (y.place(p, sample, place)) add_row(cell_row(mask, place.low), cell_row(mask, place.high), place.fraction);
      }
      const A samples = A(std::max<int64_t>(int64_t(x.grid) * y.grid, 1));
      for (int64_t q = 0; q < args_.size; ++q) args_.store(first + p * args_.size + q, sums_[size_t(q)] / samples);
    }
  }

 private:
  // A row of the mask as the samples read it.
  struct CellRow {
    int64_t row = -1;
    bool zero = true;
    std::vector<A> left, right;
  };

  // Tables [sample of a bin][bin], of those samples for which some bin lies on the mask.
  void place_columns(const roi::RoiAxis<A>& axis) {
    places_.clear();
    samples_ = 0;
    for (int32_t sample = 0; sample < axis.grid; ++sample) {
      const size_t start = places_.size();
      bool any = false;
      for (int64_t q = 0; q < args_.size; ++q) {
        roi::AxisPlace<A> place{-1, -1, A(0)};
        any |= axis.place(q, sample, place);
        places_.push_back(place);
      }
      if (any) {
        ++samples_;
      } else {
        places_.resize(start);
      }
    }
    fractions_.resize(places_.size());
    for (size_t i = 0; i < places_.size(); ++i) fractions_[i] = places_[i].fraction;
  }

  A cell(const uint8_t* row, int32_t x) const {
    if (x < 0) return A(0);
    return args_.packed ? A(row[x / 8] >> x % 8 & 1) : A(row[x]);
  }

  // Rows follow each other, so that two are kept: an even one and an odd one.
  const CellRow& cell_row(int64_t mask, int64_t row) {
    CellRow& kept = cell_rows_[row % 2];
    if (kept.row == row) return kept;
    kept.row = row;
    kept.left.resize(places_.size());
    kept.right.resize(places_.size());
    const uint8_t* const cells = args_.mask_row(mask, row);
    A sum = A(0);
    for (size_t i = 0; i < places_.size(); ++i) {
      kept.left[i] = cell(cells, places_[i].low);
      kept.right[i] = cell(cells, places_[i].high);
      sum += kept.left[i] + kept.right[i];
    }
    kept.zero = sum == A(0);
    return kept;
  }

  void add_row(const CellRow& upper, const CellRow& lower, A y) {
    if (upper.zero && lower.zero) return;
    A* const sums = sums_.data();
    for (int64_t sample = 0; sample < samples_; ++sample) {
      const int64_t start = sample * args_.size;
      const A *const x = fractions_.data() + start, *const upper_left = upper.left.data() + start,
                     *const upper_right = upper.right.data() + start, *const lower_left = lower.left.data() + start,
                     *const lower_right = lower.right.data() + start;
      for (int64_t q = 0; q < args_.size; ++q) {
        sums[q] += crop_sample(y, x[q], upper_left[q], upper_right[q], lower_left[q], lower_right[q]);
      }
    }
  }

  const CropMasks<A> args_;
  std::vector<roi::AxisPlace<A>> places_;
  std::vector<A> fractions_, sums_;
  int64_t samples_ = 0;
  CellRow cell_rows_[2];
};

}  // namespace

template <typename A>
void crop_and_resize_masks(const CropMasks<A>& args, Context&) {
  parallel_for(args.rois, 2, [&](int64_t begin, int64_t end) {
    Cropper<A> cropper(args);
    for (int64_t roi = begin; roi < end; ++roi) cropper.crop(roi);
  });
}

LDIE_INSTANTIATE_WIDE(crop_and_resize_masks, CropMasks);

}  // namespace ldie::masks
