// SPDX-License-Identifier: Apache-2.0
// Centre focal loss against the heatmap of boxes, whose Gaussians are drawn tile by tile where they are needed and
// never stored; math in center_focal_term.h and heatmap/gaussian.h.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/ragged.h"
#include "heatmap/gaussian.h"
#include "losses/center_focal_term.h"

namespace ldie::losses {

// The heatmap as its Gaussians, one a box.
struct GaussianMaps {
  const heatmap::CenterGaussian* gaussians;  // [rows]
  const int64_t* labels;                     // [rows]
  const int64_t* offsets;                    // [batch + 1]
  int64_t rows, batch, classes, height, width;

  LDIE_HD int64_t cells() const { return height * width; }
};

template <typename T>
struct CenterFocalLossFromBoxes {
  GaussianMaps maps;
  const T* logits;  // [batch, classes, height, width]
  double alpha, beta;
  T* loss;             // one element
  int64_t* num_peaks;  // one element
};

template <typename T>
void center_focal_loss_from_boxes(const CenterFocalLossFromBoxes<T>& args, Context& context);

template <typename T>
struct CenterFocalLossFromBoxesBackward {
  GaussianMaps maps;
  const T* grad;             // one element
  const int64_t* num_peaks;  // one element
  const T* logits;           // [batch, classes, height, width]
  double alpha, beta;
  T* grad_logits;  // [batch, classes, height, width]
};

template <typename T>
void center_focal_loss_from_boxes_backward(const CenterFocalLossFromBoxesBackward<T>& args, Context& context);

}  // namespace ldie::losses
