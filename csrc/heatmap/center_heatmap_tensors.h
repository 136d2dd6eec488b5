// SPDX-License-Identifier: Apache-2.0
// The tensor side's first step of what is drawn of boxes.
#pragma once

#include "core/tensors.h"
#include "heatmap/center_heatmap.h"

namespace ldie::heatmap {

// One Gaussian a box, in scratch memory.
inline const CenterGaussian* make_gaussians(const Tensor& boxes, int64_t height, int64_t width, double min_overlap,
                                            RadiusRule radius, Context& context) {
  const int64_t rows = boxes.size(0);
  CenterGaussian* const gaussians = context.scratch_array<CenterGaussian>(rows);
  launch_floating(boxes, context, [&]<typename T>(Context&) {
    center_gaussians<T>({data<T>(boxes), rows, height, width, min_overlap, radius, gaussians}, context);
  });
  return gaussians;
}

}  // namespace ldie::heatmap
