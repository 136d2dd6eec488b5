// SPDX-License-Identifier: Apache-2.0
// Curves of eight straight pieces: y = (C_j + t_j (8 v - j)) / S for j = floor(8 v), C_j = t_0 + .. + t_(j-1), S the
// sum of all t, v = x in [0, 1]. Written as a_j + b_j v they cost two picks out of eight numbers and one product.
#pragma once

#include "editing/pixel.h"

namespace ldie::editing {

constexpr int kPieces = 8;

// A curve whose weights sum to less than this is none. The CPU refuses it; on CUDA the sum counts as this much.
constexpr double kLeastCurveSum = 1e-6;

template <typename A>
LDIE_HD A curve_sum(const A* weights) {
  A sum = A(0);
  for (int j = 0; j < kPieces; ++j) sum += weights[j];
  return sum;
}

// kCurves = 3: one for each channel; 1: one for all. Their sums are, for each curve and piece j, that of grad over the
// pixels in this piece, and that of grad (8 v - j).
template <typename A, int kCurves>
struct Curves {
  static constexpr int kSums = kCurves * 2 * kPieces;
  const A* rows;  // for each curve a_0 .. a_7, b_0 .. b_7

  explicit LDIE_HD Curves(const A* numbers) : rows(numbers) {}

  static LDIE_HD void prepare(const A* params, A* numbers) {
    for (int curve = 0; curve < kCurves; ++curve) {
      const A* const weights = params + curve * kPieces;
      A* const offsets = numbers + curve * 2 * kPieces;
      A* const slopes = offsets + kPieces;
      const A sum = maximum(A(kLeastCurveSum), curve_sum(weights));
      A before = A(0);
      for (int j = 0; j < kPieces; ++j) {
        offsets[j] = (before - A(j) * weights[j]) / sum;
        slopes[j] = A(kPieces) * weights[j] / sum;
        before += weights[j];
      }
    }
  }

  // dy/dt_i = (8 clamp(v - i / 8, 0, 1 / 8) - y) / S
  static LDIE_HD void gradient(const A* params, const double* sums, A* grad) {
    for (int curve = 0; curve < kCurves; ++curve) {
      const A* const weights = params + curve * kPieces;
      const double* const whole = sums + curve * 2 * kPieces;
      const double* const part = whole + kPieces;
      const double least = kLeastCurveSum, sum = maximum(least, double(curve_sum(weights)));
      double before = 0, of_height = 0;
      for (int j = 0; j < kPieces; ++j) {
        of_height += before * whole[j] + double(weights[j]) * part[j];
        before += double(weights[j]);
      }
      double after = 0;  // of the pixels in later pieces, which this piece lifts whole
      for (int j = kPieces - 1; j >= 0; --j) {
        grad[curve * kPieces + j] = A((part[j] + after - of_height / sum) / sum);
        after += whole[j];
      }
    }
  }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    return {at(0, x.r), at(1, x.g), at(2, x.b)};
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    return {back(0, x.r, grad.r, sums), back(1, x.g, grad.g, sums), back(2, x.b, grad.b, sums)};
  }

 private:
  static LDIE_HD int row_of(int channel) { return kCurves == 1 ? 0 : channel * 2 * kPieces; }

  template <typename V>
  static LDIE_HD typename Value<V>::Index piece_of(const V& v) {
    return Value<V>::truncated(minimum(A(kPieces) * v, uniform<V>(A(kPieces - 1))));
  }

  template <typename V>
  LDIE_HD V at(int channel, const V& x) const {
    const V v = clamp_unit(x);
    const auto piece = piece_of(v);
    const A* const row = rows + row_of(channel);
    return Value<V>::entry(row, piece) + Value<V>::entry(row + kPieces, piece) * v;
  }

  template <typename V, typename Sums>
  LDIE_HD V back(int channel, const V& x, const V& grad, const Sums& sums) const {
    const V v = clamp_unit(x);
    const auto piece = piece_of(v);
    const int row = row_of(channel);
    sums.add_at(row, piece, grad);
    sums.add_at(row + kPieces, piece, grad * (A(kPieces) * v - Value<V>::number(piece)));
    return is_inside(x) ? Value<V>::entry(rows + row + kPieces, piece) * grad : V{};
  }
};

template <typename A>
using ColorCurve = Curves<A, 3>;
template <typename A>
using ToneCurve = Curves<A, 1>;

}  // namespace ldie::editing
