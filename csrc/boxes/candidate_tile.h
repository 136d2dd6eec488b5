// SPDX-License-Identifier: Apache-2.0
// CPU: candidates in the layout that one comparison with a ground truth reads, with the hull that saves most of them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/box.h"
#include "core/lanes.h"

namespace ldie {

// A positive, finite area. The IoU of two ordinary boxes is a number, and 0 where they do not touch.
template <typename T>
inline bool is_ordinary(T area) {
  return area > T(0) && area - area == T(0);
}

// Whether the boxes share more than an edge. V is a number or lanes.
template <typename V>
inline auto touches(const Box<V>& a, const Box<V>& b) {
  return (a.x1 < b.x2) & (a.x2 > b.x1) & (a.y1 < b.y2) & (a.y2 > b.y1);
}

template <typename T>
inline void stretch(Box<T>& hull, const Box<T>& box) {
  hull = {minimum(hull.x1, box.x1), minimum(hull.y1, box.y1), maximum(hull.x2, box.x2), maximum(hull.y2, box.y2)};
}

template <typename T>
class CandidateTile {
 public:
  static constexpr int64_t kSize = 256;
  static constexpr int64_t kGroup = kLanes<T>;  // candidates that one register holds

  // Takes boxes [count, 4], at most kSize and at least one; the last one also fills its group.
  void load(const T* boxes, int64_t count) {
    groups = (count + kGroup - 1) / kGroup;
    ordinary = true;
    for (int64_t i = 0; i < groups * kGroup; ++i) {
      const Box<T> box = load_box(boxes, std::min(i, count - 1));
      x1_[i] = box.x1;
      y1_[i] = box.y1;
      x2_[i] = box.x2;
      y2_[i] = box.y2;
      area_[i] = box_area(box);
      ordinary &= is_ordinary(area_[i]);
    }
    hull = box_at(0);
    for (int64_t i = 1; i < count; ++i) stretch(hull, box_at(i));
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
  Box<T> box_at(int64_t i) const { return {x1_[i], y1_[i], x2_[i], y2_[i]}; }

  T x1_[kSize], y1_[kSize], x2_[kSize], y2_[kSize], area_[kSize];
};

}  // namespace ldie
