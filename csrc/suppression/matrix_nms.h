// SPDX-License-Identifier: Apache-2.0
// Matrix NMS (Wang et al., SOLOv2, NeurIPS 2020): scores decay by what overlaps a mask, all masks at once.
#pragma once

#include <cmath>

#include "suppression/mask_order.h"

namespace ldie::suppression {

template <typename T>
struct MatrixNms {
  ScoredMasks<T> input;
  bool gaussian;  // or linear
  double sigma;
  T* scores;  // [count]
};

// Algorithm 1: f(iou of i and j) / f(the greatest iou of i with a better mask). A linear f of 0 says that i is itself a
// copy of a better mask, which decays j instead of it.
LDIE_HD double mask_decay(double iou, double greatest, bool gaussian, double sigma) {
  if (gaussian) return exp(sigma * (greatest * greatest - iou * iou));
  return greatest < 1 ? (1 - iou) / (1 - greatest) : 1;
}

template <typename T>
void matrix_nms(const MatrixNms<T>& args, Context& context);

}  // namespace ldie::suppression
