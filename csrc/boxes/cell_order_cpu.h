// SPDX-License-Identifier: Apache-2.0
// CPU: boxes brought into an order in which neighbours are near each other and about as large.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "boxes/candidate_tile_cpu.h"
#include "core/limits.h"

namespace ldie::boxes {

// The hull of the centres, times two, of ordinary boxes; empty where there are none.
template <typename T>
class CentreHull {
 public:
  void add(const Box<Lanes<T>>& boxes) {
    const auto counts = is_ordinary(box_area(boxes));
    const Lanes<T> x = boxes.x1 + boxes.x2, y = boxes.y1 + boxes.y2;
    const Lanes<T> low = all_lanes(kInfinite<T>), high = all_lanes(-kInfinite<T>);
    stretch(lanes_, {counts ? x : low, counts ? y : low, counts ? x : high, counts ? y : high});
  }

  Box<T> hull() const { return hull_of_lanes<T>(lanes_); }
  double area() const {
    const Box<T> box = hull();
    return box.x1 <= box.x2 ? double(box.x2 - box.x1) * double(box.y2 - box.y1) : 0;
  }

 private:
  Box<Lanes<T>> lanes_{all_lanes(kInfinite<T>), all_lanes(kInfinite<T>), all_lanes(-kInfinite<T>),
                       all_lanes(-kInfinite<T>)};
};

// Whether boxes that follow each other lie all over the place, as far as samples tell.
template <typename T>
inline bool is_scattered(const T* boxes, int64_t count) {
  constexpr int64_t kSamples = 8, kInSample = 64;
  constexpr double kLeastShare = 0.25;  // of the hull of all
  if (count < 2 * kSamples * kInSample) return false;
  CentreHull<T> all;
  double areas = 0;
  for (int64_t sample = 0; sample < kSamples; ++sample) {
    const T* const first = boxes + 4 * (sample * (count - kInSample) / (kSamples - 1));
    CentreHull<T> own;
    for (int64_t i = 0; i < kInSample; i += kLanes<T>) {
      const Box<Lanes<T>> group = load_group(first + 4 * i);
      own.add(group);
      all.add(group);
    }
    areas += own.area();
  }
  return areas > kLeastShare * kSamples * all.area();
}

// Level by level of size, each cell by cell along a Z-curve; at the end those that are not ordinary. A counting sort:
// reads a box twice and writes it once, with the place that it had.
template <typename T>
class CellOrder {
 public:
  void sort(const T* boxes, int64_t count) {
    reserve(count);
    find_cells(boxes, count);
    int32_t start = 0;
    for (int32_t& cell : starts_) start += std::exchange(cell, start);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t place = starts_[cells_[i]]++;
      std::memcpy(&boxes_[size_t(4 * place)], boxes + 4 * i, 4 * sizeof(T));
      places_[size_t(place)] = int32_t(i);
    }
    std::fill_n(places_.begin() + count, kLanes<T>, places_[size_t(count - 1)]);
  }

  const T* boxes() const { return boxes_.data(); }
  // Where each box stood. The last one also fills a register more.
  const int32_t* places() const { return places_.data(); }

 private:
  using Index = decltype(Lanes<T>() < Lanes<T>());
  static constexpr int kBits = 4, kLevels = 4;  // the cells of level 0 are 2^kBits by 2^kBits
  static constexpr int kCells = kLevels << (2 * kBits);

  void reserve(int64_t count) {
    const size_t padded = size_t(count + kLanes<T>);
    boxes_.resize(4 * padded);
    places_.resize(padded);
    cells_.resize(padded);
  }

  void find_cells(const T* boxes, int64_t count) {
    CentreHull<T> centres;
    for (int64_t i = 0; i < count; i += kLanes<T>) centres.add(load_group(boxes + 4 * i, count - i));
    const Box<T> hull = centres.hull();
    const Grid grid{hull.x1, hull.y1, cells_per_pixel(hull.x1, hull.x2), cells_per_pixel(hull.y1, hull.y2)};
    std::fill(std::begin(starts_), std::end(starts_), 0);
    for (int64_t i = 0; i < count; i += kLanes<T>) {
      store_lanes(&cells_[size_t(i)], grid.cells(load_group(boxes + 4 * i, count - i)), kLanes<T>);
    }
    for (int64_t i = 0; i < count; ++i) ++starts_[cells_[size_t(i)]];
  }

  static T cells_per_pixel(T low, T high) { return high > low ? T(1 << kBits) / (high - low) : T(0); }

  struct Grid {
    T left, top, columns_per_pixel, rows_per_pixel;

    Index cells(const Box<Lanes<T>>& boxes) const {
      const Lanes<T> width = (boxes.x2 - boxes.x1) * columns_per_pixel, height = (boxes.y2 - boxes.y1) * rows_per_pixel;
      const Lanes<T> side = maximum(width, height) * T(2);  // in cells of level 0
      const Index level = -((side > T(1)) + (side > T(2)) + (side > T(4)));
      const Index column = clamped((boxes.x1 + boxes.x2 - left) * columns_per_pixel) >> level;
      const Index row = clamped((boxes.y1 + boxes.y2 - top) * rows_per_pixel) >> level;
      const Index cell = (level << (2 * kBits)) + spread(column) + 2 * spread(row);
      return is_ordinary(box_area(boxes)) ? cell : Index{} + kCells;
    }

    // A NaN becomes 0.
    static Index clamped(const Lanes<T>& cell) {
      return __builtin_convertvector(minimum(maximum(Lanes<T>{}, cell), all_lanes(T((1 << kBits) - 1))), Index);
    }
    // A zero before each bit.
    static Index spread(Index bits) {
      bits = (bits | bits << 2) & 0x33;
      return (bits | bits << 1) & 0x55;
    }
  };

  int32_t starts_[kCells + 1];
  std::vector<uint16_t> cells_;
  std::vector<T> boxes_;
  std::vector<int32_t> places_;
};

}  // namespace ldie::boxes
