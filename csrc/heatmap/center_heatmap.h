// SPDX-License-Identifier: Apache-2.0
// The Gaussians of the boxes of a batch on one map per image and class, joined by the maximum.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/ragged.h"
#include "heatmap/gaussian.h"

namespace ldie::heatmap {

// First step: the boxes' dtype matters here only.
template <typename T>
struct CenterGaussians {
  const T* boxes;  // [rows, 4] x1 y1 x2 y2, in cells
  int64_t rows, height, width;
  double min_overlap;
  RadiusRule rule;
  CenterGaussian* gaussians;  // [rows]

  LDIE_HD void fill(int64_t row) const {
    gaussians[row] = center_gaussian(boxes + 4 * row, min_overlap, rule, height, width);
  }
};

template <typename T>
void center_gaussians(const CenterGaussians<T>& args, Context& context);

// Second step: draws them into a map of type T.
template <typename T>
struct CenterHeatmap {
  const CenterGaussian* gaussians;  // [rows]
  const int64_t* labels;            // [rows]
  const int64_t* offsets;           // [batch + 1]
  int64_t rows, batch, classes, height, width;
  T* heatmap;  // [batch, classes, height, width]; zeros for the CPU launcher, uninitialised for the CUDA one
};

template <typename T>
void center_heatmap(const CenterHeatmap<T>& args, Context& context);

}  // namespace ldie::heatmap
