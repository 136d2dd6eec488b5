// SPDX-License-Identifier: Apache-2.0
// Dice loss of a row of probabilities p and targets t (V-Net, arXiv:1606.04797, eq. 3, with squares in the
// denominator, as SOLO uses it):
//   L = 1 - N / D,  N = 2 sum p t + a,  D = sum p^2 + sum t^2 + b
#pragma once

#include <cstdint>

#include "core/fast_math.h"
#include "core/half.h"
#include "core/hd.h"
#include "losses/reduction.h"

namespace ldie::losses {

struct DiceSmooth {
  double numerator, denominator;
};

// The fraction of a row; the sums are in double because rows can have millions of elements.
struct DiceFraction {
  double numerator, denominator;

  LDIE_HD double loss() const { return 1 - numerator / denominator; }
};

// Of a row that takes no part: its loss is 0.
constexpr DiceFraction kUnusedRow{1, 1};

// Sums over a part of a row.
struct DiceSums {
  double pt, pp, tt;

  LDIE_HD DiceSums& operator+=(const DiceSums& other) {
    pt += other.pt;
    pp += other.pp;
    tt += other.tt;
    return *this;
  }
  LDIE_HD DiceFraction fraction(const DiceSmooth& smooth) const {
    return {2 * pt + smooth.numerator, pp + tt + smooth.denominator};
  }
};

// dL/dp = 2 (N p - D t) / D^2, times the gradient of the row's loss.
template <typename A>
struct DiceSlope {
  A of_p, of_t;

  LDIE_HD DiceSlope(const DiceFraction& row, double grad)
      : of_p(A(2 * grad * row.numerator / (row.denominator * row.denominator))), of_t(A(2 * grad / row.denominator)) {}

  LDIE_HD A of_probability(A p, A t) const { return of_p * p - of_t * t; }
  // In x, where p = 1 / (1 + e^-x).
  LDIE_HD A of_logit(A x, A t, A exp_minus_abs_x) const {
    const Logistic<A> s = logistic(x, exp_minus_abs_x);
    return of_probability(s.p, t) * (s.p * s.q);
  }
};

// The mean of no rows is 0, so that an image without objects adds nothing.
LDIE_HD double dice_scale(Reduction reduction, int64_t rows) {
  return reduction == Reduction::kMean && rows > 1 ? 1.0 / double(rows) : 1.0;
}

// What becomes of the rows' sums.
template <typename L>
struct DiceRows {
  int64_t count;
  DiceSmooth smooth;
  Reduction reduction;
  L* loss;                  // [count], or one element when reduced
  DiceFraction* fractions;  // [count]

  // Stores a row and returns its loss.
  LDIE_HD double put(int64_t row, const DiceFraction& fraction) const {
    fractions[row] = fraction;
    if (reduction == Reduction::kNone) loss[row] = L(acc_t<L>(fraction.loss()));
    return fraction.loss();
  }
  // The sum over the rows, `used` of which take part. Returns what it was multiplied with.
  LDIE_HD double put_total(double total, int64_t used) const {
    const double scale = dice_scale(reduction, used);
    if (reduction != Reduction::kNone) *loss = L(acc_t<L>(total * scale));
    return scale;
  }
};

// What comes back to them.
template <typename L>
struct DiceUpstream {
  const L* grad;                  // [rows], or one element when reduced
  const DiceFraction* fractions;  // [rows]
  Reduction reduction;

  LDIE_HD DiceSlope<acc_t<L>> slope(int64_t row, double scale) const {
    const double upstream = double(acc_t<L>(grad[reduction == Reduction::kNone ? row : 0]));
    return {fractions[row], upstream * scale};
  }
};

}  // namespace ldie::losses
