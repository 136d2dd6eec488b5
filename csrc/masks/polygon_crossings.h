// SPDX-License-Identifier: Apache-2.0
// From the edges of a polygon to runs, on the CPU; no pixel is touched.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "masks/polygon_edge.h"
#include "masks/runs.h"

namespace ldie::masks {

// Where the boundary crosses pixel columns, as pixels of the mask read column by column. Each crossing turns over all
// pixels from it on, so two at one place cancel. Memory is kept from polygon to polygon.
class PolygonCrossings {
 public:
  // Where there are no rows, columns may be any number: none is crossed.
  PolygonCrossings(int64_t height, int64_t width) : height_(height), width_(height == 0 ? 0 : width) {}

  void clear() { crossings_.clear(); }

  void add(const PolygonEdge& edge) {
    const int64_t end = edge.end_column(width_);
    for (int64_t column = edge.first_column(); column < end; ++column) {
      crossings_.push_back({uint32_t(column * height_ + edge.row(column, height_)), uint32_t(column)});
    }
    if (crossings_.size() > limit_) {
      cancel();
      limit_ = std::max(kFirstLimit, 2 * crossings_.size());
    }
  }

  // Adds the runs between ascending crossings, each pair of them a run of ones.
  void append_spans(std::vector<Span>& spans) {
    cancel();
    const uint32_t cells = uint32_t(height_ * width_);
    for (size_t i = 0; i < crossings_.size() && crossings_[i].pixel < cells; i += 2) {
      spans.push_back({crossings_[i].pixel, i + 1 < crossings_.size() ? crossings_[i + 1].pixel : cells});
    }
  }

 private:
  struct Crossing {
    uint32_t pixel, column;
  };
  static constexpr size_t kFirstLimit = 1 << 20;

  // Leaves one crossing of every odd number at a place: never more than pixels in the mask, however long the polygon.
  void cancel() {
    sort();
    size_t kept = 0;
    for (const Crossing& crossing : crossings_) {
      if (kept > 0 && crossings_[kept - 1].pixel == crossing.pixel) {
        --kept;
      } else {
        crossings_[kept++] = crossing;
      }
    }
    crossings_.resize(kept);
  }

  // By pixel. An outline crosses most columns twice, so that a counting sort by column leaves little to do.
  void sort() {
    const auto lower = [](const Crossing& a, const Crossing& b) { return a.pixel < b.pixel; };
    constexpr size_t kManyInColumn = 8;
    uint32_t first = UINT32_MAX, last = 0;
    for (const Crossing& crossing : crossings_) {
      first = std::min(first, crossing.column);
      last = std::max(last, crossing.column);
    }
    if (crossings_.empty() || crossings_.size() > kManyInColumn * (last - first + 1)) {
      std::sort(crossings_.begin(), crossings_.end(), lower);
      return;
    }
    sort_by_column(first, last);
    size_t begin = 0;
    for (uint32_t column = first; column <= last; ++column) {
      const size_t end = ends_[column - first];
      std::sort(crossings_.begin() + begin, crossings_.begin() + end, lower);
      begin = end;
    }
  }

  void sort_by_column(uint32_t first, uint32_t last) {
    ends_.assign(last - first + 2, 0);
    for (const Crossing& crossing : crossings_) ++ends_[crossing.column - first + 1];
    for (size_t i = 1; i < ends_.size(); ++i) ends_[i] += ends_[i - 1];
    sorted_.resize(crossings_.size());
    for (const Crossing& crossing : crossings_) sorted_[ends_[crossing.column - first]++] = crossing;
    crossings_.swap(sorted_);
  }

  int64_t height_, width_;
  std::vector<Crossing> crossings_, sorted_;
  std::vector<uint32_t> ends_;
  size_t limit_ = kFirstLimit;
};

}  // namespace ldie::masks
