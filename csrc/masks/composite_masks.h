// SPDX-License-Identifier: Apache-2.0
// Maps resized bilinearly in two steps without the picture between them, thresholded and painted by score (SOLO, Wang
// et al., ECCV 2020). A pixel is a sum over the cells of up to 4 x 4 taps, columns first, each product and sum rounded.
//
// A rounded sum of rounded products with weights >= 0 does not fall when a cell rises. So no pixel is worth more than
// if all its cells were worth the greatest of them, which is that cell up to the rounding of the weights and the sums:
// cells up to threshold - threshold_margin() make no pixel that is above the threshold, and cells from threshold +
// threshold_margin() on none that is not, unless they are infinite, which at a weight of 0 is NaN.
#pragma once

#include <cstdint>
#include <limits>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"
#include "masks/mask_output.h"
#include "masks/resize_taps.h"

namespace ldie::masks {

template <typename A>
constexpr A kRoundings = A(64) * std::numeric_limits<A>::epsilon();
template <typename A>
constexpr A kLeastNormal = std::numeric_limits<A>::min();

// The weights of a pixel add up to 1 within 8 roundings, and the sums over its cells round 8 times, each by half an
// epsilon; what is below the least normal number rounds by more than that.
template <typename A>
LDIE_HD A threshold_margin(A threshold) {
  return (threshold < A(0) ? -threshold : threshold) * kRoundings<A> + kLeastNormal<A>;
}

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
