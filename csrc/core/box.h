// SPDX-License-Identifier: Apache-2.0
// Axis-aligned boxes x1 y1 x2 y2 in continuous coordinates (no +1), in the type they are computed in.
#pragma once

#include <cstdint>

#include "core/half.h"
#include "core/hd.h"

namespace ldie {

template <typename V>
struct alignas(sizeof(V) < 16 ? 16 : sizeof(V)) Box {  // 16 bytes: one load on a GPU
  V x1, y1, x2, y2;
};

template <typename T>
LDIE_HD Box<acc_t<T>> load_box(const T* boxes, int64_t row) {
  using A = acc_t<T>;
  const T* const box = boxes + 4 * row;
  return {A(box[0]), A(box[1]), A(box[2]), A(box[3])};
}

// V is a number, or on the CPU a vector of numbers.
template <typename V>
LDIE_HD V maximum(const V& a, const V& b) {
  return a < b ? b : a;
}
template <typename V>
LDIE_HD V minimum(const V& a, const V& b) {
  return b < a ? b : a;
}

template <typename V>
LDIE_HD V box_area(const Box<V>& box) {
  return (box.x2 - box.x1) * (box.y2 - box.y1);
}

template <typename V>
LDIE_HD V box_intersection(const Box<V>& a, const Box<V>& b) {
  const V zero{};
  const V width = maximum(zero, minimum(a.x2, b.x2) - maximum(a.x1, b.x1));
  const V height = maximum(zero, minimum(a.y2, b.y2) - maximum(a.y1, b.y1));
  return width * height;
}

template <typename V>
LDIE_HD V intersection_over_union(const V& intersection, const V& area_a, const V& area_b) {
  return intersection / (area_a + area_b - intersection);
}

}  // namespace ldie
