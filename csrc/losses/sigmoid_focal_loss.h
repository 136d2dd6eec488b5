// SPDX-License-Identifier: Apache-2.0
// Focal loss on logits (Lin et al., arXiv:1708.02002, eq. 5) with real-valued targets t:
//   L = w ce m^gamma,  ce = softplus(x) - x t,  m = p (1 - t) + q t,  w = alpha t + (1 - alpha) (1 - t).
// An element costs one exponential, e = e^-|x|.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/context.h"
#include "core/fast_math.h"
#include "losses/reduction.h"

namespace ldie::losses {

// kSquare: gamma is 2, so that no power is needed.
template <typename A, bool kSquare>
struct FocalTerm {
  A gamma, weight_at_0, weight_slope;  // w = weight_at_0 + weight_slope t

  // alpha < 0 weighs all alike.
  FocalTerm(double alpha, double gamma)
      : gamma(A(gamma)), weight_at_0(A(alpha < 0 ? 1 : 1 - alpha)), weight_slope(A(alpha < 0 ? 0 : 2 * alpha - 1)) {}

  LDIE_HD A modulation(A miss) const { return kSquare ? miss * miss : A(std::pow(miss, gamma)); }

  // softplus(x) - x t, arranged so that x t cancels nothing.
  LDIE_HD static A cross_entropy(const Logistic<A>& s, A x, A t) {
    return s.tail + (x > A(0) ? x * (A(1) - t) : -x * t);
  }

  LDIE_HD A loss(A x, A t, A e) const {
    const Logistic<A> s = logistic(x, e);
    const A miss = s.p * (A(1) - t) + s.q * t;
    return (weight_at_0 + weight_slope * t) * cross_entropy(s, x, t) * modulation(miss);
  }

  // dL/dx = w m^gamma ((p - t) + gamma ce (1 - 2 t) p q / m). For t = 0 and 1 the ratio p q / m is q and p, which is 1
  // where m vanishes, so neither gamma < 1 nor gamma = 0 divides by zero.
  LDIE_HD A gradient(A x, A t, A e) const {
    const Logistic<A> s = logistic(x, e);
    const A miss = s.p * (A(1) - t) + s.q * t, slope = cross_entropy(s, x, t) * (A(1) - A(2) * t);
    const A weight = weight_at_0 + weight_slope * t;
    if constexpr (kSquare) {
      return weight * miss * ((s.p - t) * miss + A(2) * slope * s.p * s.q);
    } else {
      const A ratio = miss != A(0) ? s.p * s.q / miss : A(1);
      return weight * modulation(miss) * ((s.p - t) + gamma * slope * ratio);
    }
  }
};

// Calls body(term) with the term for this gamma, computed in T's accumulation type.
template <typename T, typename Body>
void with_focal_term(double alpha, double gamma, const Body& body) {
  if (gamma == 2) {
    body(FocalTerm<acc_t<T>, true>(alpha, gamma));
  } else {
    body(FocalTerm<acc_t<T>, false>(alpha, gamma));
  }
}

template <typename T>
struct SigmoidFocalLoss {
  const T *inputs, *targets;  // [count]
  int64_t count;
  double alpha, gamma;
  Reduction reduction;
  T* loss;  // [count], or one element when reduced
};

template <typename T>
void sigmoid_focal_loss(const SigmoidFocalLoss<T>& args, Context& context);

template <typename T>
struct SigmoidFocalLossBackward {
  const T* grad;  // [count], or one element for all
  bool grad_is_shared;
  const T *inputs, *targets;  // [count]
  int64_t count;
  double alpha, gamma, scale;  // scale: of the mean; used where grad is shared
  T* grad_inputs;              // [count]
};

template <typename T>
void sigmoid_focal_loss_backward(const SigmoidFocalLossBackward<T>& args, Context& context);

}  // namespace ldie::losses
