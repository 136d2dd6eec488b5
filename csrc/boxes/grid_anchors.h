// SPDX-License-Identifier: Apache-2.0
// Anchors of a feature pyramid (Ren et al., arXiv:1506.01497, section 3.1.1): the same few boxes, the level's cells,
// around every location of its grid. Ordered by level, y, x, cell.
#pragma once

#include <cstdint>

#include "core/box.h"
#include "core/context.h"
#include "core/hd.h"

namespace ldie::boxes {

// What the cells of a level are (grid_anchors.cpp).
enum class AnchorConvention : int64_t { kTorchvision, kDetectron2 };
constexpr AnchorConvention last_option(AnchorConvention) { return AnchorConvention::kDetectron2; }

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
