// SPDX-License-Identifier: Apache-2.0
// A ground-truth box as the cells it covers on a feature map.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/half.h"
#include "core/hd.h"

namespace ldie::adversarial {

// How continuous box edges become whole cells. The values are the schema's ints.
enum class Rounding : int64_t {
  kTrunc = 0,    // toward zero, as Python's int(): a box thinner than one cell can vanish
  kOutward = 1,  // floor of x1, y1 and ceil of x2, y2: every touched cell counts
};

constexpr Rounding last_option(Rounding) { return Rounding::kOutward; }

// Half-open cell ranges [x1, x2) x [y1, y2), clipped to the map; empty when x1 >= x2 or y1 >= y2.
struct PixelBox {
  int32_t x1, y1, x2, y2;
};

template <typename T>
LDIE_HD int32_t clip_edge(T edge, int64_t size) {
  return edge > T(0) ? (edge < T(size) ? int32_t(edge) : int32_t(size)) : 0;
}

// `box` points to x1 y1 x2 y2 in cells. Empty unless x2 > x1 and y2 > y1, so also when a coordinate is NaN; infinite
// coordinates are clipped to the map like any others.
template <typename T>
LDIE_HD PixelBox pixel_box(const T* box, Rounding rounding, int64_t height, int64_t width) {
  using A = acc_t<T>;
  const A x1 = A(box[0]), y1 = A(box[1]);
  A x2 = A(box[2]), y2 = A(box[3]);
  if (!(x2 > x1 && y2 > y1)) return {0, 0, 0, 0};
  if (rounding == Rounding::kOutward) {  // the floor of x1 and y1 is what clip_edge's truncation gives
    x2 = ceil(x2);
    y2 = ceil(y2);
  }
  return {clip_edge(x1, width), clip_edge(y1, height), clip_edge(x2, width), clip_edge(y2, height)};
}

// Boxes [rows, 4] of any floating dtype. The dtype is looked up per box: ops whose main input has a dtype of its own
// need not be compiled for every pair of the two.
enum class BoxType : int32_t { kFloat, kDouble, kHalf, kBFloat16 };

struct BoxRows {
  const void* data;
  BoxType type;

  LDIE_HD PixelBox cells(int64_t row, Rounding rounding, int64_t height, int64_t width) const {
    switch (type) {
      case BoxType::kFloat: return pixel_box(static_cast<const float*>(data) + 4 * row, rounding, height, width);
      case BoxType::kDouble: return pixel_box(static_cast<const double*>(data) + 4 * row, rounding, height, width);
      case BoxType::kHalf: return pixel_box(static_cast<const Half*>(data) + 4 * row, rounding, height, width);
      default: return pixel_box(static_cast<const BFloat16*>(data) + 4 * row, rounding, height, width);
    }
  }
};

}  // namespace ldie::adversarial
