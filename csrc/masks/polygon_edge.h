// SPDX-License-Identifier: Apache-2.0
// COCO's polygon rasterisation (rleFrPoly of the COCO API), edge by edge and in closed form.
//
// COCO rounds vertices to a grid five times as fine as the pixels, walks every edge on it, and notes where the walk
// steps from one fine column to the next. A step counts where the left of the two is column 2 (mod 5) of a pixel, that
// is, in the middle of the pixel's column; its row is then rounded to pixels. A pixel is inside when the number of
// steps noted in its column, in its row or above, is odd. So an edge crosses each pixel column at most once, and where
// is a function of edge and column alone: edges, columns and instances can be done in any order.
#pragma once

#include <cstdint>

#include "core/hd.h"
#include "core/integers.h"

namespace ldie::masks {

constexpr int64_t kFine = 5;        // fine cells a pixel
constexpr int64_t kMiddleFine = 2;  // the middle one

// COCO's rounding, which goes towards zero below it. COCO's result is undefined far outside of any image; here far
// coordinates stop at 2^28 (an edge's extent then fits an int32), and NaN is 0.
LDIE_HD int32_t fine_coordinate(double pixels) {
  constexpr double kLimit = 1 << 28;
  const double fine = double(kFine) * pixels + 0.5;
  if (fine != fine) return 0;
  return int32_t(fine < -kLimit ? -kLimit : fine > kLimit ? kLimit : fine);
}

// The pixel row from which on a step in this fine row counts.
LDIE_HD int64_t pixel_row(int64_t fine_row, int64_t height) {
  const int64_t fine = fine_row - kMiddleFine;
  if (fine <= 0) return 0;
  const int64_t pixel = ceil_div(fine, kFine);
  return pixel < height ? pixel : height;
}

// The rows, 0 to height, between which an edge crosses columns, for the least and the greatest of its fine rows; the
// walk along an edge rounds by up to one fine row.
LDIE_HD int64_t first_row(int32_t least, int64_t height) { return pixel_row(int64_t(least) - 1, height); }
LDIE_HD int64_t last_row(int32_t greatest, int64_t height) { return pixel_row(int64_t(greatest) + 1, height); }

// Towards zero, as COCO rounds the walk's other coordinate.
LDIE_HD int32_t round_walk(double start, double slope, int32_t step) {
  return int32_t(start + slope * double(step) + 0.5);
}

// An edge on the fine grid, its walk upwards along the longer axis.
class PolygonEdge {
 public:
  LDIE_HD PolygonEdge(int32_t xa, int32_t ya, int32_t xb, int32_t yb) {
    const int32_t width = xa < xb ? xb - xa : xa - xb, height = ya < yb ? yb - ya : ya - yb;
    flat_ = width >= height;
    const bool flip = flat_ ? xa > xb : ya > yb;
    x_ = flip ? xb : xa;
    y_ = flip ? yb : ya;
    const int32_t dx = (flip ? xa : xb) - x_, dy = (flip ? ya : yb) - y_;
    left_ = dx < 0 ? x_ + dx : x_;
    right_ = dx < 0 ? x_ : x_ + dx;
    steps_ = flat_ ? dx : dy;
    slope_ = steps_ == 0 ? 0 : flat_ ? double(dy) / dx : double(dx) / dy;
  }

  // Pixel columns crossed are first_column() <= column < end_column(width); none where the edge is upright or a point.
  LDIE_HD int64_t first_column() const { return column_from(left_); }
  LDIE_HD int64_t end_column(int64_t width) const {
    const int64_t end = column_from(right_);
    return end < width ? end : width;
  }

  // The pixel row, 0 to height, from which on the crossing of a column counts (height: below the image).
  LDIE_HD int64_t row(int64_t column, int64_t height) const {
    return pixel_row(fine_row(int32_t(kFine * column + kMiddleFine)), height);
  }

 private:
  // The first pixel column whose middle fine column is not left of x.
  LDIE_HD static int64_t column_from(int32_t x) {
    return x <= kMiddleFine ? 0 : ceil_div(int64_t(x) - kMiddleFine, kFine);
  }

  // The upper row of the walk's step between the fine columns x and x + 1, left_ <= x < right_, x >= 2.
  LDIE_HD int32_t fine_row(int32_t x) const {
    if (flat_) {
      const int32_t before = round_walk(y_, slope_, x - x_), after = round_walk(y_, slope_, x - x_ + 1);
      return before < after ? before : after;
    }
    return y_ + first_step_past(x) - 1;
  }

  // On a steep edge, the first step whose column lies on the other side of the line between x and x + 1. Rounding is
  // monotone, so an estimate is walked to the exact place.
  LDIE_HD int32_t first_step_past(int32_t x) const {
    const double estimate = (double(x) + 0.5 - double(x_)) / slope_;
    int32_t step = int32_t(estimate);
    step = step < 1 ? 1 : step > steps_ ? steps_ : step;
    while (step > 1 && past(x, step - 1)) --step;
    while (step < steps_ && !past(x, step)) ++step;
    return step;
  }
  LDIE_HD bool past(int32_t x, int32_t step) const {
    const int32_t column = round_walk(x_, slope_, step);
    return slope_ > 0 ? column > x : column <= x;
  }

  bool flat_;  // the longer axis is x
  int32_t x_, y_, left_, right_, steps_;
  double slope_;  // of the other coordinate
};

}  // namespace ldie::masks
