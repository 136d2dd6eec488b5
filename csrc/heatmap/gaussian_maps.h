// SPDX-License-Identifier: Apache-2.0
// A whole map for each centre: a Gaussian around it, or 1 in its cell. A map is the product of one factor per axis.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/context.h"
#include "core/fast_math.h"
#include "core/limits.h"
#include "core/wide_numbers.h"

namespace ldie::heatmap {

// What the radius is. The values are the schemas' ints.
enum class GaussianKind : int64_t {
  kHalf = 0,    // where the Gaussian is 1/2
  kFwhm = 1,    // the distance between two such places
  kSigma = 2,   // the standard deviation
  kOnehot = 3,  // nothing: the map is 1 in the centre's cell
};
constexpr GaussianKind last_option(GaussianKind) { return GaussianKind::kOnehot; }

// exp(-((cell + 1/2 - position) * scale)^2) along either axis. In double, so that centres far away and cells of large
// maps keep their places.
struct MapGaussian {
  double x, y, scale;

  // Of cell `first` + `step`; a double holds any cell's place. A is float or double.
  template <typename A>
  static LDIE_HD A factor(double position, double scale, int64_t first, int32_t step) {
    const double distance = double(first) + 0.5 + double(step) - position;
    const double scaled = distance * scale;  // NaN for 0 * infinity
    return distance == 0 ? A(1) : fast_exp(A(-(scaled * scaled)));
  }
};

// Infinitely far and infinitely narrow: a map of zeros.
LDIE_HD MapGaussian no_gaussian() { return {kInfinite<double>, kInfinite<double>, kInfinite<double>}; }

LDIE_HD MapGaussian map_gaussian(double x, double y, double radius, GaussianKind kind) {
  constexpr double kRootOfLn2 = 0.83255461115769776, kRootOfHalf = 0.70710678118654752;
  if (x - x != 0 || y - y != 0) return no_gaussian();  // infinite or NaN
  if (kind == GaussianKind::kOnehot) return {std::floor(x) + 0.5, std::floor(y) + 0.5, kInfinite<double>};
  if (!(radius >= 0)) return no_gaussian();
  const double numerator = kind == GaussianKind::kHalf   ? kRootOfLn2
                           : kind == GaussianKind::kFwhm ? 2 * kRootOfLn2
                                                         : kRootOfHalf;
  return {x, y, numerator / radius};
}

// The least normal number: a processor takes a hundred times as long to multiply to a smaller one.
template <typename A>
constexpr A kLeastNormal = std::numeric_limits<A>::min();

// The factor of a row, and the least factor of a column with which it makes a normal number.
template <typename A>
struct RowFactor {
  A factor, least;

  LDIE_HD explicit RowFactor(A factor) : factor(factor), least(kLeastNormal<A> / factor) {}
  LDIE_HD A value(A column) const { return factor * (column >= least ? column : A(0)); }
};

template <typename T>
struct GaussianMaps {
  WideNumbers centers;  // [count, 2] x y
  WideNumbers radii;    // [count], or none: `radius`
  double radius;
  double step;  // of a cell, in the unit of centers and radii
  GaussianKind kind;
  int64_t count, height, width;
  T* maps;  // [count, height, width]

  LDIE_HD MapGaussian gaussian(int64_t map) const {
    const double own = radii.given() ? radii[map] : radius;
    return map_gaussian(centers[2 * map] / step, centers[2 * map + 1] / step, own / step, kind);
  }
};

template <typename T>
void gaussian_maps(const GaussianMaps<T>& args, Context& context);

}  // namespace ldie::heatmap
