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

// One curve on one channel. Its sums are, for each piece j, that of grad over the pixels in this piece, and that of
// grad (8 v - j).
template <typename A>
struct CurveChannel {
  static constexpr int kSums = 2 * kPieces;
  const A* row;  // a_0 .. a_7, b_0 .. b_7
  int first_sum;

  template <typename V>
  LDIE_HD V forward(const V& x) const {
    return forward_inside(clamp_unit(x));
  }

  template <typename V, typename Sums>
  LDIE_HD V backward(const V& x, const V& grad, const Sums& sums) const {
    return clamp_gradient(x, backward_inside(clamp_unit(x), grad, sums));
  }

  // Of v in [0, 1].
  template <typename V>
  LDIE_HD V forward_inside(const V& v) const {
    const auto piece = piece_of(A(kPieces) * v);
    return Value<V>::entry(row, piece) + Value<V>::entry(row + kPieces, piece) * v;
  }

  template <typename V, typename Sums>
  LDIE_HD V backward_inside(const V& v, const V& grad, const Sums& sums) const {
    const V scaled = A(kPieces) * v;
    const auto piece = piece_of(scaled);
    sums.add_piece(first_sum, piece, scaled, grad);
    return Value<V>::entry(row + kPieces, piece) * grad;
  }

 private:
  template <typename V>
  static LDIE_HD typename Value<V>::Index piece_of(const V& scaled) {
    return Value<V>::truncated(Value<V>::minimum(scaled, uniform<V>(A(kPieces - 1))));
  }
};

// kCurves = 3: one for each channel; 1: one for all.
template <typename A, int kCurves>
struct Curves {
  static constexpr int kSums = kCurves * CurveChannel<A>::kSums;
  const A* rows;  // of each curve

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

  // dy/dt_i = (8 clamp(v - i / 8, 0, 1 / 8) - y) / S. The sums may be numbers or lanes of numbers.
  template <typename V, typename Gradient>
  static LDIE_HD void gradient(const A* params, const V* sums, Gradient* grad) {
    using N = Number<V>;
    for (int curve = 0; curve < kCurves; ++curve) {
      const A* const weights = params + curve * kPieces;
      const V* const whole = sums + curve * 2 * kPieces;
      const V* const part = whole + kPieces;
      const N share = N(1) / maximum(N(kLeastCurveSum), N(curve_sum(weights)));
      N before = N(0);
      V of_height{};
      for (int j = 0; j < kPieces; ++j) {
        of_height = of_height + (before * whole[j] + N(weights[j]) * part[j]);
        before += N(weights[j]);
      }
      of_height = share * of_height;
      V after{};  // of the pixels in later pieces, which this piece lifts whole
      for (int j = kPieces - 1; j >= 0; --j) {
        grad[curve * kPieces + j] = Gradient(share * (part[j] + after - of_height));
        after = after + whole[j];
      }
    }
  }

  LDIE_HD CurveChannel<A> channel(int c) const {
    const int row = kCurves == 1 ? 0 : c * CurveChannel<A>::kSums;
    return {rows + row, row};
  }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    return {channel(0).forward(x.r), channel(1).forward(x.g), channel(2).forward(x.b)};
  }

  template <typename V>
  LDIE_HD Pixel<V> forward_inside(const Pixel<V>& x) const {
    return {channel(0).forward_inside(x.r), channel(1).forward_inside(x.g), channel(2).forward_inside(x.b)};
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    return {channel(0).backward(x.r, grad.r, sums), channel(1).backward(x.g, grad.g, sums),
            channel(2).backward(x.b, grad.b, sums)};
  }
};

template <typename A>
using ColorCurve = Curves<A, 3>;
template <typename A>
using ToneCurve = Curves<A, 1>;

}  // namespace ldie::editing
