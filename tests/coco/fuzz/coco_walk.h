// SPDX-License-Identifier: Apache-2.0
// COCO's polygon rasterisation as it is defined: the walk along each edge, step by step (rleFrPoly of the COCO API,
// maskApi.c). Slow, and only for coordinates that fit its integers.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "checks.h"

namespace ldie::host {

class CocoWalk {
 public:
  CocoWalk(int64_t height, int64_t width) : height_(height), width_(width), turns_(size_t(height * width) + 1) {}

  void edge(const double* from, const double* to) {
    int xs = fine(from[0]), ys = fine(from[1]), xe = fine(to[0]), ye = fine(to[1]);
    const int dx = std::abs(xe - xs), dy = std::abs(ye - ys);
    if (dx >= dy ? xs > xe : ys > ye) {
      std::swap(xs, xe);
      std::swap(ys, ye);
    }
    if (dx == 0 && dy == 0) return;
    const double slope = dx >= dy ? double(ye - ys) / dx : double(xe - xs) / dy;
    int u = xs, v = ys;
    for (int step = 1; step <= std::max(dx, dy); ++step) {
      const int next_u = dx >= dy ? xs + step : int(xs + slope * step + .5);
      const int next_v = dx >= dy ? int(ys + slope * step + .5) : ys + step;
      if (next_u != u) cross(std::min(u, next_u), std::min(v, next_v));
      u = next_u;
      v = next_v;
    }
  }

  Pixels pixels() const {
    Pixels found(turns_.size() - 1);
    uint8_t inside = 0;
    for (size_t i = 0; i < found.size(); ++i) found[i] = inside ^= turns_[i];
    return found;
  }

 private:
  static int fine(double pixels) { return int(5 * pixels + .5); }

  void cross(int u, int v) {
    const double column = (u + .5) / 5 - .5;
    if (std::floor(column) != column || column < 0 || column > double(width_ - 1)) return;
    const double row = std::ceil(std::min(std::max((v + .5) / 5 - .5, 0.), double(height_)));
    turns_[size_t(int64_t(column) * height_ + int64_t(row))] ^= 1;
  }

  int64_t height_, width_;
  std::vector<uint8_t> turns_;  // from this pixel on, ones and zeros change places
};

}  // namespace ldie::host
