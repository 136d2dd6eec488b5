// SPDX-License-Identifier: Apache-2.0
// Dice loss of each row (V-Net, arXiv:1606.04797, eq. 3, with squares in the denominator, as SOLO uses it):
//   L = 1 - N / D,  N = 2 sum p t + smooth,  D = sum p^2 + sum t^2 + smooth,  p = 1 / (1 + e^-x).
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/fast_math.h"
#include "losses/reduction.h"

namespace ldie::losses {

// The fraction of a row; the sums are in double because rows can have millions of elements.
struct DiceFraction {
  double numerator, denominator;

  LDIE_HD double loss() const { return 1 - numerator / denominator; }
};

// Sums over a part of a row.
struct DiceSums {
  double pt, pp, tt;

  LDIE_HD DiceSums& operator+=(const DiceSums& other) {
    pt += other.pt;
    pp += other.pp;
    tt += other.tt;
    return *this;
  }
  LDIE_HD DiceFraction fraction(double smooth) const { return {2 * pt + smooth, pp + tt + smooth}; }
};

// dL/dx = 2 (N p - D t) / D^2 * p (1 - p), times the gradient of the row's loss.
template <typename A>
struct DiceSlope {
  A of_p, of_t;

  LDIE_HD DiceSlope(const DiceFraction& row, double grad)
      : of_p(A(2 * grad * row.numerator / (row.denominator * row.denominator))), of_t(A(2 * grad / row.denominator)) {}

  LDIE_HD A gradient(A x, A t, A e) const {  // e = e^-|x|
    const Logistic<A> s = logistic(x, e);
    return (of_p * s.p - of_t * t) * (s.p * s.q);
  }
};

// The mean of no rows is 0, so that an image without objects adds nothing.
inline double dice_scale(Reduction reduction, int64_t rows) {
  return reduction == Reduction::kMean && rows > 1 ? 1.0 / double(rows) : 1.0;
}

template <typename T>
struct DiceLoss {
  const T *inputs, *targets;  // [rows, length]
  int64_t rows, length;
  double smooth;
  Reduction reduction;
  T* loss;                  // [rows], or one element when reduced
  DiceFraction* fractions;  // [rows]
};

template <typename T>
void dice_loss(const DiceLoss<T>& args, Context& context);

template <typename T>
struct DiceLossBackward {
  const T* grad;                  // [rows], or one element when reduced
  const T *inputs, *targets;      // [rows, length]
  const DiceFraction* fractions;  // [rows]
  int64_t rows, length;
  Reduction reduction;
  T* grad_inputs;  // [rows, length]

  LDIE_HD DiceSlope<acc_t<T>> slope(int64_t row, double scale) const {
    const double upstream = double(acc_t<T>(grad[reduction == Reduction::kNone ? row : 0]));
    return {fractions[row], upstream * scale};
  }
};

template <typename T>
void dice_loss_backward(const DiceLossBackward<T>& args, Context& context);

}  // namespace ldie::losses
