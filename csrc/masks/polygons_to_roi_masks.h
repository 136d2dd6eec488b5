// SPDX-License-Identifier: Apache-2.0
// Mask targets of regions of interest: an instance's polygons drawn in the frame of a box, on size x size pixels.
#pragma once

#include "core/context.h"
#include "core/half.h"
#include "masks/polygon_set.h"

namespace ldie::masks {

template <typename T>
struct PolygonsToRoiMasks {
  PolygonSet polygons;
  const T* boxes;            // [rois, 4] x1 y1 x2 y2
  const int64_t* instances;  // [rois], or null when RoI n is of instance n
  int64_t rois, size;
  uint8_t* masks;  // [rois, size, size], 0 or 1

  // None for an instance that does not exist: the mask stays empty.
  LDIE_HD RowRange parts_of(int64_t roi) const {
    const int64_t instance = instances ? instances[roi] : roi;
    return instance < 0 || instance >= polygons.instances ? RowRange{0, 0} : polygons.parts_of(instance);
  }
  LDIE_HD PolygonFrame frame(int64_t roi) const {
    const T* const box = boxes + 4 * roi;
    return {double(acc_t<T>(box[0])), double(acc_t<T>(box[1])), scale(box[0], box[2]), scale(box[1], box[3])};
  }

 private:
  // detectron2's, down to its types: the ratio is of the boxes' type unless the side is below a tenth of a pixel.
  LDIE_HD double scale(T begin, T end) const {
    using A = acc_t<T>;
    constexpr double kLeastSide = 0.1;
    const A side = A(end) - A(begin);
    return double(side) < kLeastSide ? double(size) / kLeastSide : double(A(size) / side);
  }
};

template <typename T>
void polygons_to_roi_masks(const PolygonsToRoiMasks<T>& args, Context& context);

}  // namespace ldie::masks
