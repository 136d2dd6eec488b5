// SPDX-License-Identifier: Apache-2.0
// Cross entropy of a softmax over the cells of each map (Mask R-CNN, arXiv:1703.06870, section 5):
//   loss = log sum_i e^(x_i - m) - (x_t - m),  m = max x;  gradient softmax(x) - onehot(t).
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/fast_math.h"
#include "core/limits.h"
#include "losses/reduction.h"

namespace ldie::losses {

// The greatest logit of a map and log sum e^(x - maximum); apart, so that large logits do not cost their digits.
template <typename A>
struct SoftmaxNormalizer {
  A maximum, log_sum;

  LDIE_HD A log_probability(A x) const { return (x - maximum) - log_sum; }
};

// sum e^(x - maximum) over a part of a map, with the maximum of that part.
template <typename A>
struct OnlineSoftmax {
  A maximum = -kInfinite<A>, sum = 0;

  // What exponents are taken relative to: any finite number where there was nothing but -inf.
  LDIE_HD static A shift(A maximum) { return maximum == -kInfinite<A> ? A(0) : maximum; }
  // The sum relative to another maximum, of which this part's is not above.
  LDIE_HD A rescaled(A to) const { return sum * fast_exp(maximum - shift(to)); }
  LDIE_HD SoftmaxNormalizer<A> normalizer() const { return {maximum, fast_log(sum)}; }
};

// The loss before and after reduction: a sum over valid maps and their number.
struct ValidSum {
  double sum = 0;
  int64_t count = 0;

  // What the sum is multiplied with; the mean of nothing is 0, so that a batch without keypoints adds nothing.
  LDIE_HD double scale(Reduction reduction) const {
    return reduction == Reduction::kMean && count > 0 ? 1 / double(count) : 1;
  }
};

template <typename T>
struct SpatialSoftmax {
  const T* logits;       // [rows, length]
  const int64_t* index;  // [rows]
  const bool* valid;     // [rows]
  int64_t rows, length;

  LDIE_HD const T* map(int64_t row) const { return logits + row * length; }
  // A map that is not valid, or whose target is outside, takes no part.
  LDIE_HD bool counts(int64_t row) const { return valid[row] && index[row] >= 0 && index[row] < length; }
};

template <typename T>
struct SpatialSoftmaxLoss {
  using A = acc_t<T>;
  SpatialSoftmax<T> inputs;
  Reduction reduction;
  T* loss;                            // [rows], or one element when reduced
  SoftmaxNormalizer<A>* normalizers;  // [rows], zeros where a map takes no part
  A* scale;                           // what the losses are multiplied with: the backward's factor

  // Adds a map whose normalizer is known.
  LDIE_HD void add(int64_t row, ValidSum& total) const {
    A of_row = 0;
    if (inputs.counts(row)) {
      of_row = -normalizers[row].log_probability(A(inputs.map(row)[inputs.index[row]]));
      total.sum += double(of_row);
      ++total.count;
    }
    if (reduction == Reduction::kNone) loss[row] = T(of_row);
  }
  LDIE_HD void finish(const ValidSum& total) const {
    const double factor = total.scale(reduction);
    *scale = A(factor);
    if (reduction != Reduction::kNone) *loss = T(A(total.sum * factor));
  }
};

template <typename T>
void spatial_softmax_cross_entropy(const SpatialSoftmaxLoss<T>& args, Context& context);

template <typename T>
struct SpatialSoftmaxBackward {
  using A = acc_t<T>;
  const T* grad;  // [rows], or one element when reduced
  SpatialSoftmax<T> inputs;
  const SoftmaxNormalizer<A>* normalizers;  // [rows]
  const A* scale;
  Reduction reduction;
  T* grad_logits;  // [rows, length]

  LDIE_HD A factor(int64_t row) const { return A(grad[reduction == Reduction::kNone ? row : 0]) * *scale; }
};

// dL/dx of a cell, for the gradient `factor` of its map's loss.
template <typename A>
LDIE_HD A softmax_slope(const SoftmaxNormalizer<A>& normalizer, A x, bool is_target, A factor) {
  return (fast_exp(normalizer.log_probability(x)) - A(is_target)) * factor;
}

template <typename T>
void spatial_softmax_cross_entropy_backward(const SpatialSoftmaxBackward<T>& args, Context& context);

}  // namespace ldie::losses
