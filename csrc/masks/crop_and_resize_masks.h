// SPDX-License-Identifier: Apache-2.0
// Masks cropped to boxes: RoIAlign (He et al., Mask R-CNN, 2017, section 3) that reads bools or bits. Samples are
// summed in torchvision's order, so that bins fall on the same side of a half.
#pragma once

#include "core/bits.h"
#include "core/context.h"
#include "roi/roi_align.h"

namespace ldie::masks {

template <typename A>
struct CropMasks {
  const uint8_t* masks;  // [count, height, row_bytes()], 0 or 1, or 8 pixels a byte with bit 0 leftmost
  int64_t count, height, width;
  bool packed;
  const A* boxes;            // [rois, 4] x1 y1 x2 y2
  const int64_t* instances;  // [rois], or null when RoI n is of mask n
  int64_t rois, size;
  bool aligned;
  A* values;      // [rois, size, size]; or null, where
  uint8_t* bits;  // [rois, size, size] says which are at least a half

  LDIE_HD int64_t row_bytes() const { return mask_row_bytes(width, packed); }
  LDIE_HD const uint8_t* mask_row(int64_t mask, int64_t y) const { return masks + (mask * height + y) * row_bytes(); }

  // -1 for a RoI of a mask that does not exist, or whose coordinates are not finite: its crop is 0.
  LDIE_HD int64_t mask_of(int64_t roi) const {
    const A* const box = boxes + 4 * roi;
    const A sum = box[0] + box[1] + box[2] + box[3];
    const int64_t mask = instances ? instances[roi] : roi;
    return sum - sum == A(0) && mask >= 0 && mask < count ? mask : -1;
  }
  LDIE_HD roi::RoiAxis<A> axis_x(int64_t roi) const {
    return roi::roi_axis(boxes[4 * roi], boxes[4 * roi + 2], size, int32_t(width), aligned, 0);
  }
  LDIE_HD roi::RoiAxis<A> axis_y(int64_t roi) const {
    return roi::roi_axis(boxes[4 * roi + 1], boxes[4 * roi + 3], size, int32_t(height), aligned, 0);
  }
  LDIE_HD void store(int64_t index, A mean) const {
    if (values) {
      values[index] = mean;
    } else {
      bits[index] = mean >= A(0.5);
    }
  }
};

template <typename A>
LDIE_HD A crop_sample(A y, A x, A upper_left, A upper_right, A lower_left, A lower_right) {
  const A above = A(1) - y, left = A(1) - x;
  return above * left * upper_left + above * x * upper_right + y * left * lower_left + y * x * lower_right;
}

template <typename A>
void crop_and_resize_masks(const CropMasks<A>& args, Context& context);

}  // namespace ldie::masks
