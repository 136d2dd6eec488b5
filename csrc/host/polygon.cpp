// SPDX-License-Identifier: Apache-2.0
#include "host/polygon.h"

#include <algorithm>
#include <utility>

#include "masks/polygon_set.h"

namespace ldie {

namespace {

// Where the boundary crosses pixel columns, as pixels of the mask read column by column. Each crossing turns over all
// pixels from it on, so two at one place cancel.
class Crossings {
 public:
  Crossings(int64_t height, int64_t width) : height_(height), width_(width) {}

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

  // Runs between ascending crossings, each pair of them a run of ones.
  Rle runs() {
    cancel();
    std::vector<Span> spans;
    spans.reserve(crossings_.size() / 2 + 1);
    const uint32_t cells = uint32_t(height_ * width_);
    for (size_t i = 0; i < crossings_.size() && crossings_[i].pixel < cells; i += 2) {
      spans.push_back({crossings_[i].pixel, i + 1 < crossings_.size() ? crossings_[i + 1].pixel : cells});
    }
    return from_ones(spans, height_, width_);
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
    for (size_t i = 1; i < crossings_.size(); ++i) {  // insertion: each is near its place
      const Crossing crossing = crossings_[i];
      size_t place = i;
      for (; place > 0 && lower(crossing, crossings_[place - 1]); --place) crossings_[place] = crossings_[place - 1];
      crossings_[place] = crossing;
    }
  }

  void sort_by_column(uint32_t first, uint32_t last) {
    std::vector<uint32_t> ends(last - first + 2, 0);
    for (const Crossing& crossing : crossings_) ++ends[crossing.column - first + 1];
    for (size_t i = 1; i < ends.size(); ++i) ends[i] += ends[i - 1];
    std::vector<Crossing> sorted(crossings_.size());
    for (const Crossing& crossing : crossings_) sorted[ends[crossing.column - first]++] = crossing;
    crossings_ = std::move(sorted);
  }

  int64_t height_, width_;
  std::vector<Crossing> crossings_;
  size_t limit_ = kFirstLimit;
};

}  // namespace

Rle draw_polygon(const double* xy, int64_t points, int64_t height, int64_t width) {
  mask_cells(height, width);
  Crossings crossings(height, width);
  const PolygonSet polygon{xy, nullptr, nullptr, points, 1, 1};
  const RowRange all{0, points};
  for (int64_t point = 0; point < points; ++point) crossings.add(polygon_edge(polygon, all, point, PolygonFrame()));
  return crossings.runs();
}

}  // namespace ldie
