// SPDX-License-Identifier: Apache-2.0
#include "host/polygon.h"

#include <algorithm>

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
      pixels_.push_back(uint32_t(column * height_ + edge.row(column, height_)));
    }
    if (pixels_.size() > limit_) {
      cancel();
      limit_ = std::max(kFirstLimit, 2 * pixels_.size());
    }
  }

  // Runs between ascending crossings, each pair of them a run of ones.
  Rle runs() {
    cancel();
    std::vector<Span> spans;
    spans.reserve(pixels_.size() / 2 + 1);
    const uint32_t cells = uint32_t(height_ * width_);
    for (size_t i = 0; i < pixels_.size() && pixels_[i] < cells; i += 2) {
      spans.push_back({pixels_[i], i + 1 < pixels_.size() ? pixels_[i + 1] : cells});
    }
    return from_ones(spans, height_, width_);
  }

 private:
  static constexpr size_t kFirstLimit = 1 << 20;

  // Leaves one crossing of every odd number at a place: never more than pixels in the mask, however long the polygon.
  void cancel() {
    std::sort(pixels_.begin(), pixels_.end());
    size_t kept = 0;
    for (const uint32_t pixel : pixels_) {
      if (kept > 0 && pixels_[kept - 1] == pixel) {
        --kept;
      } else {
        pixels_[kept++] = pixel;
      }
    }
    pixels_.resize(kept);
  }

  int64_t height_, width_;
  std::vector<uint32_t> pixels_;
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
