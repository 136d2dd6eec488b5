// SPDX-License-Identifier: Apache-2.0
// The Gaussian that a box leaves on a centre heatmap (CenterNet, arXiv:1904.07850, section 3).
#pragma once

#include <cmath>
#include <cstdint>

#include "core/hd.h"
#include "heatmap/center_cell.h"

namespace ldie::heatmap {

// How far the corners of a box may shift. The values are the schemas' ints.
enum class RadiusRule : int64_t {
  kCornerNet = 0,  // the published code: the larger root, divided by 2, in all three cases
  kExact = 1,      // the roots of CornerNet's three equations
};
constexpr RadiusRule last_option(RadiusRule) { return RadiusRule::kExact; }

// The largest shift of the corners that keeps IoU >= min_overlap with the box, the least of three cases (CornerNet,
// arXiv:1808.01244, section 3.2): one corner in and one out, both in, both out. Term by term as NumPy's float64, so
// that the radius truncates to the same integer.
LDIE_HD double gaussian_radius(double height, double width, double min_overlap, RadiusRule rule) {
  const double o = min_overlap, sum = height + width;
  const double b1 = sum, c1 = width * height * (1 - o) / (1 + o);
  const double b2 = 2 * sum, c2 = (1 - o) * width * height;
  const double a3 = 4 * o, b3 = -2 * o * sum, c3 = (o - 1) * width * height;
  const double root1 = std::sqrt(b1 * b1 - 4 * c1);
  const double root2 = std::sqrt(b2 * b2 - 16 * c2);
  const double root3 = std::sqrt(b3 * b3 - 4 * a3 * c3);
  const bool exact = rule == RadiusRule::kExact;
  const double r1 = (exact ? b1 - root1 : b1 + root1) / 2;
  const double r2 = exact ? (b2 - root2) / 8 : (b2 + root2) / 2;
  const double r3 = (b3 + root3) / (exact ? 2 * a3 : 2);
  const double least = r1 < r2 ? r1 : r2;
  return least < r3 ? least : r3;
}

// Cells [x1, x2) x [y1, y2) of a map.
struct CellWindow {
  int32_t x1, y1, x2, y2;
};

// exp(-d^2 / (2 sigma^2)) around cell (x, y), sigma = (2 radius + 1) / 6, within `radius` cells on either axis.
struct CenterGaussian {
  double exponent;  // -1 / (2 sigma^2)
  int32_t x, y;
  int32_t radius;  // negative: the box has no target

  LDIE_HD bool valid() const { return radius >= 0; }

  // The part of the map that the Gaussian reaches; empty when it is not valid.
  LDIE_HD CellWindow window(int64_t height, int64_t width) const {
    if (!valid()) return {0, 0, 0, 0};
    const int64_t right = int64_t(x) + radius + 1, bottom = int64_t(y) + radius + 1;
    return {x > radius ? x - radius : 0, y > radius ? y - radius : 0, int32_t(right < width ? right : width),
            int32_t(bottom < height ? bottom : height)};
  }

  // The Gaussian is the product of one factor per axis, `distance` cells from the centre. A is float or double.
  template <typename A>
  LDIE_HD A factor(int64_t distance) const {
    return std::exp(A(exponent) * (A(distance) * A(distance)));
  }
};

// The Gaussian of the box x1 y1 x2 y2 (in cells) on a map; not valid where the box has no centre cell.
template <typename T>
LDIE_HD CenterGaussian center_gaussian(const T* box, double min_overlap, RadiusRule rule, int64_t height,
                                       int64_t width) {
  // A side beyond this is a million maps, and its powers would overflow; a radius beyond the largest map is clipped.
  constexpr double kLongestSide = 1e150, kLargestRadius = double(int64_t(1) << 30);
  const auto cell = center_cell(box, height, width);
  if (!cell.valid) return {0, 0, 0, -1};
  const double h = std::ceil(double(cell.height)), w = std::ceil(double(cell.width));
  const double bound =
      gaussian_radius(h < kLongestSide ? h : kLongestSide, w < kLongestSide ? w : kLongestSide, min_overlap, rule);
  const double radius = bound > 0 ? std::floor(bound) : 0, sigma = (2 * radius + 1) / 6;
  return {-1 / (2 * sigma * sigma), cell.x, cell.y, int32_t(radius < kLargestRadius ? radius : kLargestRadius)};
}

}  // namespace ldie::heatmap
