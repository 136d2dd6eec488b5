// SPDX-License-Identifier: Apache-2.0
// CPU: what a step need not do on pixels that are known to be in [0, 1], as they are after every step without a mask.
#pragma once

#include "editing/edit_step.h"

namespace ldie::editing {

// Of an x in [0, 1].
template <typename Operator, typename X>
inline __attribute__((always_inline)) X edit_inside(const Operator& op, const X& x) {
  if constexpr (requires { op.forward_inside(x); }) {
    return clamp_unit(op.forward_inside(x));
  } else {
    return edit(op, x);
  }
}

// Of an x in [0, 1], by an operator that keeps it there.
template <typename Operator, typename X, typename Sums>
inline __attribute__((always_inline)) X edit_inside_backward(const Operator& op, const X& x, const X& grad,
                                                             const Sums& sums) {
  if constexpr (requires { op.backward_inside(x, grad, sums); }) {
    return op.backward_inside(x, grad, sums);
  } else {
    return op.backward(x, grad, sums);
  }
}

// Whether an operator keeps any x of [0, 1] there, rounding aside, so that its clamp passes all gradients.
template <typename Operator>
bool keeps_inside(const Operator&) {
  return false;
}
template <typename A>
bool keeps_inside(const Brightness<A>&) {
  return true;
}
template <typename A>
bool keeps_inside(const Saturation<A>&) {
  return true;
}
template <typename A>
bool keeps_inside(const Hue<A>&) {
  return true;
}
template <typename A>
bool keeps_inside(const Colorize<A>&) {
  return true;
}
template <typename A>
bool keeps_inside(const Lightness<A>&) {
  return true;
}
template <typename A>
bool keeps_inside(const Exposure<A>& op) {
  return op.factor <= A(1);
}
template <typename A>
bool keeps_inside(const BlackWhite<A>& op) {
  return op.amount >= A(0) && op.amount <= A(1);
}
template <typename A>
bool keeps_inside(const CurveChannel<A>& curve) {  // it never falls
  bool rising = true;
  for (int j = 0; j < kPieces; ++j) rising = rising && curve.row[kPieces + j] >= A(0);
  return rising;
}

}  // namespace ldie::editing
