// SPDX-License-Identifier: Apache-2.0
// Centre focal loss against a heatmap that is in memory; math in center_focal_term.h.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "losses/center_focal_term.h"

namespace ldie::losses {

// H is T, or float beside 16-bit T.
template <typename T, typename H>
struct CenterFocalLoss {
  const T* logits;   // [count]
  const H* heatmap;  // [count]
  int64_t count;
  double alpha, beta;
  T* loss;             // one element
  int64_t* num_peaks;  // one element
};

template <typename T, typename H>
void center_focal_loss(const CenterFocalLoss<T, H>& args, Context& context);

template <typename T, typename H>
struct CenterFocalLossBackward {
  const T* grad;             // one element
  const int64_t* num_peaks;  // one element
  const T* logits;           // [count]
  const H* heatmap;          // [count]
  int64_t count;
  double alpha, beta;
  T* grad_logits;  // [count]
};

template <typename T, typename H>
void center_focal_loss_backward(const CenterFocalLossBackward<T, H>& args, Context& context);

}  // namespace ldie::losses
