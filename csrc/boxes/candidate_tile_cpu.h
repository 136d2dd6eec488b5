// SPDX-License-Identifier: Apache-2.0
// CPU: candidates in the layout that one comparison with a ground truth reads, with the hull that saves most of them.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/box.h"
#include "core/integers.h"
#include "core/lanes_cpu.h"

namespace ldie::boxes {

// A positive, finite area. The IoU of two ordinary boxes is a number, and 0 where they do not touch.
template <typename V>
inline auto is_ordinary(const V& area) {
  return (area > V{}) & (area - area == V{});
}

// Whether the boxes share more than an edge. V is a number or lanes.
template <typename V>
inline auto touches(const Box<V>& a, const Box<V>& b) {
  return (a.x1 < b.x2) & (a.x2 > b.x1) & (a.y1 < b.y2) & (a.y2 > b.y1);
}

inline bool any_true(int value) { return value != 0; }
template <typename Mask>
bool any_true(const Mask& mask) {
  return any_lane(mask);
}

template <typename V, typename T>
Box<V> same_lanes(const Box<T>& box) {
  return {box.x1 - V{}, box.y1 - V{}, box.x2 - V{}, box.y2 - V{}};
}

template <typename V>
inline void stretch(Box<V>& hull, const Box<V>& box) {
  hull = {minimum(hull.x1, box.x1), minimum(hull.y1, box.y1), maximum(hull.x2, box.x2), maximum(hull.y2, box.y2)};
}

// The hull of the lanes' boxes.
template <typename T>
inline Box<T> hull_of_lanes(const Box<Lanes<T>>& boxes) {
  Box<T> hull{boxes.x1[0], boxes.y1[0], boxes.x2[0], boxes.y2[0]};
  for (int64_t lane = 1; lane < kLanes<T>; ++lane) {
    stretch(hull, {boxes.x1[lane], boxes.y1[lane], boxes.x2[lane], boxes.y2[lane]});
  }
  return hull;
}

// As many boxes as one register holds of each of their numbers.
template <typename T>
inline Box<Lanes<T>> load_group(const T* boxes) {
  constexpr int64_t kCount = kLanes<T>;
  const Lanes<T> a = load_lanes(boxes), b = load_lanes(boxes + kCount);
  const Lanes<T> c = load_lanes(boxes + 2 * kCount), d = load_lanes(boxes + 3 * kCount);
  const Lanes<T> x_ab = even_lanes<T>(a, b), x_cd = even_lanes<T>(c, d);
  const Lanes<T> y_ab = odd_lanes<T>(a, b), y_cd = odd_lanes<T>(c, d);
  return {even_lanes<T>(x_ab, x_cd), even_lanes<T>(y_ab, y_cd), odd_lanes<T>(x_ab, x_cd), odd_lanes<T>(y_ab, y_cd)};
}

// At least one box; the last one also fills the lanes that are left.
template <typename T>
inline Box<Lanes<T>> load_group(const T* boxes, int64_t count) {
  if (count >= kLanes<T>) return load_group(boxes);
  T padded[4 * kLanes<T>];
  for (int64_t i = 0; i < kLanes<T>; ++i) {
    std::memcpy(padded + 4 * i, boxes + 4 * (i < count ? i : count - 1), 4 * sizeof(T));
  }
  return load_group(padded);
}

template <typename T>
class CandidateTile {
 public:
  static constexpr int64_t kSize = 256;
  static constexpr int64_t kGroup = kLanes<T>;

  // Takes boxes [count, 4], at most kSize and at least one.
  void load(const T* boxes, int64_t count) {
    groups = ceil_div(count, kGroup);
    Box<Lanes<T>> outer = load_group(boxes, count);
    auto odd = outer.x1 != outer.x1;
    for (int64_t group = 0; group < groups; ++group) {
      const Box<Lanes<T>> inner = load_group(boxes + 4 * kGroup * group, count - kGroup * group);
      const Lanes<T> area = box_area(inner);
      const int64_t i = group * kGroup;
      store_lanes(x1_ + i, inner.x1, kGroup);
      store_lanes(y1_ + i, inner.y1, kGroup);
      store_lanes(x2_ + i, inner.x2, kGroup);
      store_lanes(y2_ + i, inner.y2, kGroup);
      store_lanes(area_ + i, area, kGroup);
      odd |= is_ordinary(area) == 0;
      stretch(outer, inner);
    }
    ordinary = !any_lane(odd);
    hull = hull_of_lanes<T>(outer);
  }

  Box<Lanes<T>> boxes(int64_t group) const {
    const int64_t i = group * kGroup;
    return {load_lanes(x1_ + i), load_lanes(y1_ + i), load_lanes(x2_ + i), load_lanes(y2_ + i)};
  }
  Lanes<T> areas(int64_t group) const { return load_lanes(area_ + group * kGroup); }

  int64_t groups = 0;
  bool ordinary = false;  // all of them; otherwise the hull means nothing
  Box<T> hull;

 private:
  T x1_[kSize], y1_[kSize], x2_[kSize], y2_[kSize], area_[kSize];
};

}  // namespace ldie::boxes
