// SPDX-License-Identifier: Apache-2.0
// One part of a polygon as bits, on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "masks/polygon_set.h"

namespace ldie {

// The rows and 64-column words of an image that a part may cover. draw() toggles the crossings of every edge, then lets
// each row inherit the one above it: a pixel's bit is the parity of the crossings in its column, in its row or above.
// Memory is kept from part to part.
class PolygonCanvas {
 public:
  PolygonCanvas(int64_t height, int64_t width) : height_(height), width_(width) {}

  void draw(const PolygonSet& polygons, const RowRange& part, const PolygonFrame& frame) {
    place(polygons, part, frame);
    if (rows() <= 0 || words_ <= 0) return;
    bits_.assign(size_t(rows() * words_), 0);
    for (int64_t point = part.begin; point < part.end; ++point) toggle(polygon_edge(polygons, part, point, frame));
    for (size_t i = size_t(words_); i < bits_.size(); ++i) bits_[i] ^= bits_[i - size_t(words_)];
  }

  // The part covers nothing outside of rows [top, bottom) and of the words from first_word() on.
  int64_t top() const { return top_; }
  int64_t bottom() const { return words_ > 0 ? bottom_ : top_; }
  int64_t first_word() const { return first_word_; }
  int64_t words() const { return words_; }
  const uint64_t* row(int64_t y) const { return bits_.data() + (y - top_) * words_; }

 private:
  int64_t rows() const { return bottom_ - top_; }

  void place(const PolygonSet& polygons, const RowRange& part, const PolygonFrame& frame) {
    int32_t left = INT32_MAX, right = INT32_MIN, upper = INT32_MAX, lower = INT32_MIN;
    for (int64_t point = part.begin; point < part.end; ++point) {
      const double* const xy = polygons.coords + 2 * point;
      const int32_t x = frame.fine_x(xy), y = frame.fine_y(xy);
      left = std::min(left, x);
      right = std::max(right, x);
      upper = std::min(upper, y);
      lower = std::max(lower, y);
    }
    top_ = bottom_ = first_word_ = words_ = 0;
    if (part.begin >= part.end) return;
    const PolygonEdge span(left, 0, right, 0);
    first_word_ = span.first_column() / 64;
    words_ = (span.end_column(width_) + 63) / 64 - first_word_;
    top_ = pixel_row(int64_t(upper) - 1, height_);  // the walk rounds by up to one fine row
    bottom_ = std::min(height_, pixel_row(int64_t(lower) + 1, height_) + 1);
  }

  void toggle(const PolygonEdge& edge) {
    const int64_t end = edge.end_column(width_);
    for (int64_t column = edge.first_column(); column < end; ++column) {
      const int64_t row = edge.row(column, height_);
      if (row < bottom_) bits_[size_t((row - top_) * words_ + column / 64 - first_word_)] ^= uint64_t(1) << column % 64;
    }
  }

  int64_t height_, width_;
  int64_t top_ = 0, bottom_ = 0, first_word_ = 0, words_ = 0;
  std::vector<uint64_t> bits_;
};

}  // namespace ldie
