// SPDX-License-Identifier: Apache-2.0
// One part of a polygon as bits, on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/bits.h"
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

  // Adds the part to a mask of the image: rows of row_bytes, a byte a pixel or 8 pixels a byte.
  void unite_into(uint8_t* mask, int64_t row_bytes, bool packed) const {
    const uint64_t* bits = bits_.data();
    for (int64_t y = top_; y < bottom_; ++y) {
      for (int64_t word = first_word_; word < first_word_ + words_; ++word, ++bits) {
        if (*bits == 0) continue;
        uint8_t* const row = mask + y * row_bytes;
        packed ? unite_packed(row, row_bytes, word, *bits) : unite_dense(row, row_bytes, word, *bits);
      }
    }
  }

 private:
  static void unite_packed(uint8_t* row, int64_t row_bytes, int64_t word, uint64_t bits) {
    unite_bytes(row + 8 * word, std::min<int64_t>(8, row_bytes - 8 * word), bits);
  }
  static void unite_dense(uint8_t* row, int64_t width, int64_t word, uint64_t bits) {
    for (int64_t x = 64 * word; bits != 0; x += 8, bits >>= 8) {
      unite_bytes(row + x, std::min<int64_t>(8, width - x), spread_8_bits(bits));
    }
  }
  static void unite_bytes(uint8_t* bytes, int64_t count, uint64_t value) {
    uint64_t old = 0;
    if (count == 8) {  // a copy of known size is one instruction
      std::memcpy(&old, bytes, 8);
      old |= value;
      std::memcpy(bytes, &old, 8);
      return;
    }
    std::memcpy(&old, bytes, size_t(count));
    old |= value;
    std::memcpy(bytes, &old, size_t(count));
  }

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
