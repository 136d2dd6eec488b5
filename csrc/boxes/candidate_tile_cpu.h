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

template <typename V>
inline void stretch(Box<V>& hull, const Box<V>& box) {
  hull = {minimum(hull.x1, box.x1), minimum(hull.y1, box.y1), maximum(hull.x2, box.x2), maximum(hull.y2, box.y2)};
}

template <typename T>
class CandidateTile {
 public:
  static constexpr int64_t kSize = 256;
  static constexpr int64_t kGroup = kLanes<T>;  // candidates that one register holds
  static constexpr int64_t kGroups = kSize / kGroup;

  // Takes boxes [count, 4], at most kSize and at least one; the last one also fills its group.
  void load(const T* boxes, int64_t count) {
    groups = ceil_div(count, kGroup);
    for (int64_t i = 0; i < count; ++i) put(i, load_box(boxes, i));
    for (int64_t i = count; i < groups * kGroup; ++i) put(i, load_box(boxes, count - 1));
    Box<Lanes<T>> outer = this->boxes(0);
    auto odd = outer.x1 != outer.x1;
    for (int64_t group = 0; group < groups; ++group) {
      const Box<Lanes<T>> inner = this->boxes(group);
      const Lanes<T> area = box_area(inner);
      std::memcpy(area_ + group * kGroup, &area, sizeof area);
      odd |= is_ordinary(area) == 0;
      stretch(outer, inner);
    }
    ordinary = !any_lane(odd);
    hull = {outer.x1[0], outer.y1[0], outer.x2[0], outer.y2[0]};
    for (int64_t lane = 1; lane < kGroup; ++lane) {
      stretch(hull, {outer.x1[lane], outer.y1[lane], outer.x2[lane], outer.y2[lane]});
    }
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
  void put(int64_t i, const Box<T>& box) {
    x1_[i] = box.x1;
    y1_[i] = box.y1;
    x2_[i] = box.x2;
    y2_[i] = box.y2;
  }

  T x1_[kSize], y1_[kSize], x2_[kSize], y2_[kSize], area_[kSize];
};

}  // namespace ldie::boxes
