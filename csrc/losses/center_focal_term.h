// SPDX-License-Identifier: Apache-2.0
// Penalty-reduced focal loss of one cell of a centre heatmap (CornerNet, arXiv:1808.01244, eq. 1), on its logit x:
//   y = 1:  (1 - p)^alpha (-log p)          y < 1:  (1 - y)^beta p^alpha (-log(1 - p))          p = 1 / (1 + e^-x)
// As 1 - p is p of -x, both are weight * p^alpha * softplus of +-x: a cell costs one exponential, e = e^-|x|.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/fast_math.h"

namespace ldie::losses {

// kPublished: alpha = 2 and beta = 4, so that no power is needed.
template <typename A, bool kPublished>
struct CenterFocalTerm {
  A alpha, beta;

  LDIE_HD A modulation(A p) const { return kPublished ? p * p : A(std::pow(p, alpha)); }

  LDIE_HD A penalty(A y) const {
    const A rest = A(1) - y, square = rest * rest;
    return kPublished ? square * square : A(std::pow(rest, beta));
  }

  // Of a cell without a target, y = 0: p^alpha softplus(x).
  LDIE_HD A empty_loss(A x, A e) const {
    const Logistic<A> s = logistic(x, e);
    return modulation(s.p) * ((x > A(0) ? x : A(0)) + s.tail);
  }

  // d/dx of the above: p^alpha (alpha (1 - p) softplus(x) + p).
  LDIE_HD A empty_gradient(A x, A e) const {
    const Logistic<A> s = logistic(x, e);
    const A softplus = (x > A(0) ? x : A(0)) + s.tail;
    return modulation(s.p) * ((kPublished ? A(2) : alpha) * s.q * softplus + s.p);
  }

  LDIE_HD A loss(A x, A y, A e) const {
    const bool peak = y == A(1);
    return (peak ? A(1) : penalty(y)) * empty_loss(peak ? -x : x, e);
  }

  LDIE_HD A gradient(A x, A y, A e) const {
    const bool peak = y == A(1);
    return (peak ? A(-1) : penalty(y)) * empty_gradient(peak ? -x : x, e);
  }
};

// Calls body(term) with the term for these exponents, computed in A.
template <typename A, typename Body>
void with_center_focal_term(double alpha, double beta, const Body& body) {
  if (alpha == 2 && beta == 4) {
    body(CenterFocalTerm<A, true>{A(alpha), A(beta)});
  } else {
    body(CenterFocalTerm<A, false>{A(alpha), A(beta)});
  }
}

// A sum of losses and the number of peaks, cells with y = 1, that will divide it.
struct PeakSum {
  double loss;
  int64_t peaks;

  LDIE_HD PeakSum& operator+=(const PeakSum& other) {
    loss += other.loss;
    peaks += other.peaks;
    return *this;
  }
};

// What a sum over cells is divided by: nothing where there is no peak.
LDIE_HD double peak_divisor(int64_t peaks) { return peaks > 1 ? double(peaks) : 1.0; }

}  // namespace ldie::losses
