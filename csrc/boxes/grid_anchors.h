// SPDX-License-Identifier: Apache-2.0
// Anchors of a feature pyramid (Ren et al., arXiv:1506.01497, section 3.1.1): the same few boxes, the level's cells,
// around every location of its grid. Ordered by level, y, x, cell.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "core/box.h"
#include "core/context.h"
#include "core/hd.h"

namespace ldie::boxes {

// The two conventions in use, with ratio = height / width. Both in their peer's precision and order of operations, so
// that the anchors are the same bits.
enum class AnchorConvention : int64_t { kTorchvision, kDetectron2 };
constexpr AnchorConvention last_option(AnchorConvention) { return AnchorConvention::kDetectron2; }

inline Box<float> torchvision_cell(double size, double ratio) {
  const float height_ratio = std::sqrt(float(ratio)), width_ratio = 1.f / height_ratio;
  const float x = std::nearbyint(width_ratio * float(size) / 2), y = std::nearbyint(height_ratio * float(size) / 2);
  return {-x, -y, x, y};
}

inline Box<float> detectron2_cell(double size, double ratio) {
  const double width = std::sqrt(size * size / ratio), height = ratio * width;
  const float x = float(width / 2), y = float(height / 2);
  return {-x, -y, x, y};
}

// Cell i of a level: torchvision has the ratio in the outer loop, detectron2 the size.
inline Box<float> anchor_cell(AnchorConvention convention, std::span<const double> sizes,
                              std::span<const double> ratios, size_t i) {
  return convention == AnchorConvention::kTorchvision
             ? torchvision_cell(sizes[i % sizes.size()], ratios[i / sizes.size()])
             : detectron2_cell(sizes[i / ratios.size()], ratios[i % ratios.size()]);
}

constexpr int64_t kMostAnchorLevels = 16, kMostAnchorCells = 128;  // they travel as arguments of the kernel

struct AnchorLevel {
  int64_t height, width, stride_y, stride_x;
  int64_t first_anchor;
  int first_cell, cells;

  LDIE_HD int64_t anchors_per_row() const { return width * cells; }
};

struct AnchorPyramid {
  AnchorLevel levels[kMostAnchorLevels] = {};
  Box<float> cells[kMostAnchorCells] = {};  // level by level
  int num_levels = 0, num_cells = 0;
  int64_t anchors = 0;
};

struct GridAnchors {
  AnchorPyramid pyramid;
  float offset;         // of the first location, in strides
  Box<float>* anchors;  // written

  LDIE_HD float shift(int64_t location, int64_t stride) const {
    return float(location * stride) + offset * float(stride);
  }
};

LDIE_HD Box<float> anchor_at(float x, float y, const Box<float>& cell) {
  return {x + cell.x1, y + cell.y1, x + cell.x2, y + cell.y2};
}

void grid_anchors(const GridAnchors& args, Context& context);

}  // namespace ldie::boxes
