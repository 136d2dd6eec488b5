// SPDX-License-Identifier: Apache-2.0
// The cell of a map that holds a box's centre: where CenterNet (arXiv:1904.07850) places the box's targets.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/half.h"
#include "core/hd.h"
#include "core/limits.h"

namespace ldie::heatmap {

// All in cells; A is the boxes' dtype, or float for 16-bit boxes.
template <typename A>
struct CenterCell {
  bool valid;
  int32_t x, y;
  A center_x, center_y, width, height;
};

// `box` points to x1 y1 x2 y2. Valid where both sides are positive and finite and the centre lies in [0, width) x
// [0, height); a NaN fails every comparison. The other members of an invalid cell are 0.
template <typename T>
LDIE_HD CenterCell<acc_t<T>> center_cell(const T* box, int64_t height, int64_t width) {
  using A = acc_t<T>;
  const A x1 = A(box[0]), y1 = A(box[1]), x2 = A(box[2]), y2 = A(box[3]);
  const A x = (x1 + x2) / A(2), y = (y1 + y2) / A(2), w = x2 - x1, h = y2 - y1;
  const bool valid = w > A(0) && h > A(0) && w < kInfinite<A> && h < kInfinite<A> && x >= A(0) && x < A(width) &&
                     y >= A(0) && y < A(height);
  if (!valid) return {};
  return {true, int32_t(x), int32_t(y), x, y, w, h};
}

}  // namespace ldie::heatmap
