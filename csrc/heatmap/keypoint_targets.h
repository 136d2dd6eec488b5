// SPDX-License-Identifier: Apache-2.0
// The cell of a box's heatmap that holds each keypoint (Mask R-CNN, arXiv:1703.06870, section 5, keypoints; the
// discretisation is Heckbert's, as in torchvision and detectron2):
//   column = floor((x - x1) * W / (x2 - x1)), row alike; a keypoint on the far edge is in the last cell.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/box.h"
#include "core/context.h"

namespace ldie::heatmap {

// The cell along one axis as a number of type A: below 0, or `cells` or more, or NaN where the point is outside.
// Rounded as torch rounds `cells / length`, so that points between two cells fall as torchvision lets them.
template <typename A>
LDIE_HD A keypoint_cell(A point, A low, A high, int64_t cells) {
  if (point == high) return A(cells - 1);
  return std::floor((point - low) * (A(1) / (high - low) * A(cells)));
}

template <typename T>
struct KeypointTargets {
  const T* keypoints;      // [boxes, keypoints, 3] x y visibility
  const T* boxes;          // [boxes, 4] x1 y1 x2 y2
  int64_t count, per_box;  // keypoints in all, and of a box
  int64_t height, width;   // of the heatmap
  int64_t* index;          // [boxes, keypoints] row * width + column, 0 where not valid
  bool* valid;             // [boxes, keypoints]

  LDIE_HD void assign(int64_t i) const {
    using A = acc_t<T>;
    const Box<A> box = load_box(boxes, i / per_box);
    const A column = keypoint_cell(A(keypoints[3 * i]), box.x1, box.x2, width);
    const A row = keypoint_cell(A(keypoints[3 * i + 1]), box.y1, box.y2, height);
    const bool inside = column >= A(0) && column < A(width) && row >= A(0) && row < A(height);
    valid[i] = inside && A(keypoints[3 * i + 2]) > A(0);
    index[i] = valid[i] ? int64_t(row) * width + int64_t(column) : 0;
  }
};

template <typename T>
void keypoint_targets(const KeypointTargets<T>& args, Context& context);

}  // namespace ldie::heatmap
