// SPDX-License-Identifier: Apache-2.0
// Adversarial loss of a scale discriminator on masked scores. With O = scores * weight, s_j = -1 for the true scale j
// and +1 for the others (detector side; the discriminator's side is the negative) and K of class_counts.h:
//   wasserstein  A = sum K s_j O_j / D
//   hinge        A = sum K relu(1 + s_j O_j) / D, plus 1 / D for each masked-out element when not normalised
// D = S sum M when normalised, else B Nc S H W. The product of M and O over classes is never needed: it only repeats
// each score K times. Elements with K = 0 are left out, so a NaN there does no harm.
#pragma once

#include <cstdint>

#include "adversarial/class_counts.h"
#include "core/context.h"
#include "core/half.h"

namespace ldie::adversarial {

// The scores and what decides their signs: common to the loss, its gradient and the gradient's gradient.
template <typename T>
struct ScaleScores {
  using A = acc_t<T>;
  const T* scores;  // [batch, channels, height, width]
  const A* weight;  // [batch, weight_channels, height, width], or null for 1
  int64_t weight_channels, batch, channels, height, width, scale;
  bool discriminator, hinge;

  LDIE_HD int64_t pixels() const { return height * width; }
  LDIE_HD A sign(int64_t channel) const { return (channel == scale) == discriminator ? A(1) : A(-1); }
  LDIE_HD const A* weight_plane(int64_t image, int64_t channel) const {
    if (!weight) return nullptr;
    return weight + (image * weight_channels + (weight_channels > 1 ? channel : 0)) * pixels();
  }
};

// One element of the sum, and its derivative by the score; `factor` is s_j * weight.
template <typename A>
LDIE_HD A scale_term(A score, A factor, bool hinge) {
  const A term = factor * score;
  if (!hinge) return term;
  return A(1) + term < A(0) ? A(0) : A(1) + term;
}

template <typename A>
LDIE_HD A scale_slope(A score, A factor, bool hinge) {
  return hinge && A(1) + factor * score <= A(0) ? A(0) : factor;
}

// 1 / D and the constant of the unnormalised hinge, from sum M; 0 when there is nothing to average.
struct Normaliser {
  double elements;  // B Nc S H W
  double channels;  // S
  bool normalize, hinge;

  LDIE_HD double reciprocal(int64_t mask_sum) const {
    const double divisor = normalize ? channels * double(mask_sum) : elements;
    return divisor > 0 ? 1 / divisor : 0;
  }
  LDIE_HD double masked_out(int64_t mask_sum) const {
    return hinge && !normalize ? elements - channels * double(mask_sum) : 0;
  }
};

// counts: K as uint8, or int32 when `wide`; null where K is 1 everywhere.
template <typename T>
struct MaskedScaleLoss {
  ScaleScores<T> scores;
  ClassCounts source;
  Normaliser normaliser;
  void* counts;  // [batch, height, width], written
  bool wide;
  acc_t<T>*loss, *reciprocal;  // scalars, written
};

template <typename T>
struct MaskedScaleLossBackward {
  ScaleScores<T> scores;
  const void* counts;
  bool wide;
  const acc_t<T>*reciprocal, *grad_loss;
  T* grad_scores;  // [batch, channels, height, width], written
};

// The contraction of a tangent with the gradient for grad_loss = 1: the derivative of the backward by grad_loss.
// (Its derivative by the scores is 0 wherever it exists.)
template <typename T>
struct MaskedScaleLossDoubleBackward {
  ScaleScores<T> scores;
  const void* counts;
  bool wide;
  const acc_t<T>* reciprocal;
  const T* tangent;  // [batch, channels, height, width]
  acc_t<T>* result;  // scalar, written
};

template <typename T>
void masked_scale_loss(const MaskedScaleLoss<T>& args, Context& context);
template <typename T>
void masked_scale_loss_backward(const MaskedScaleLossBackward<T>& args, Context& context);
template <typename T>
void masked_scale_loss_double_backward(const MaskedScaleLossDoubleBackward<T>& args, Context& context);

}  // namespace ldie::adversarial
