// SPDX-License-Identifier: Apache-2.0
// Maps resized bilinearly in two steps without the picture between them, thresholded and painted by score (SOLO, Wang
// et al., ECCV 2020). A pixel is a sum over the cells of up to 4 x 4 taps, columns first, each product and sum rounded.
//
// A rounded sum of rounded products with weights >= 0 does not fall when a cell rises. So no pixel is worth more than
// if all its cells were worth the greatest of them, which is that cell up to the rounding of the weights and the sums:
// cells up to ThresholdBounds::low make no pixel that is above the threshold, and those from high on none that is not.
#pragma once

#include <cstdint>
#include <limits>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"
#include "core/limits.h"
#include "masks/mask_output.h"
#include "masks/resize_taps.h"

namespace ldie::masks {

template <typename A>
struct ThresholdBounds {
  A low, high;

  // Weights of an axis and their sum are within 6 roundings of 1, a sum over it within 4 more; those below the least
  // normal number are not relative.
  LDIE_HD explicit ThresholdBounds(A threshold) {
    constexpr A kRoundings = A(64) * std::numeric_limits<A>::epsilon(), kLeast = std::numeric_limits<A>::min();
    const A margin = (threshold < A(0) ? -threshold : threshold) * kRoundings + kLeast;
    low = threshold - margin;
    high = threshold + margin;
  }

  LDIE_HD bool may_exceed(A cell) const { return cell > low; }                            // not NaN: it never does
  LDIE_HD bool must_exceed(A cell) const { return cell >= high && cell < kInfinite<A>; }  // infinity at 0 is NaN
};

template <typename T>
struct CompositeMasks {
  const T* maps;  // [rows, height, width]
  int64_t rows, height, width;
  const int64_t* index;  // [count] of rows, or null: all rows
  const double* scores;  // [count], or null: in their order
  int64_t count;
  int64_t between_height, between_width;  // 0: no first step
  int64_t crop_height, crop_width;
  bool align_corners;
  double threshold;
  bool exclusive;
  MaskOutput out;

  LDIE_HD ResizeAxis<acc_t<T>> axis_x() const { return {width, between_width, crop_width, out.width, align_corners}; }
  LDIE_HD ResizeAxis<acc_t<T>> axis_y() const {
    return {height, between_height, crop_height, out.height, align_corners};
  }
  // Null for a row that does not exist.
  LDIE_HD const T* map(int64_t mask) const {
    const int64_t row = index ? index[mask] : mask;
    return row >= 0 && row < rows ? maps + row * height * width : nullptr;
  }
};

template <typename T>
void composite_masks(const CompositeMasks<T>& args, Context& context);

}  // namespace ldie::masks
