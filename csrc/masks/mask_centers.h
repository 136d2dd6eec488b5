// SPDX-License-Identifier: Apache-2.0
// Centres of mass of masks.
#pragma once

#include "masks/mask_moments.h"

namespace ldie::masks {

struct MaskCenters {
  MaskSet masks;
  float* centers;  // [count, 2] x y
  int64_t* areas;  // [count]

  // The mean of the pixels' indices; 0 0 of a mask without pixels.
  LDIE_HD void write(int64_t mask, const MaskMoments& moments) const {
    const double pixels = moments.area > 0 ? double(moments.area) : 1;
    centers[2 * mask] = float(double(moments.sum_x) / pixels);
    centers[2 * mask + 1] = float(double(moments.sum_y) / pixels);
    areas[mask] = moments.area;
  }
};

void mask_centers(const MaskCenters& args, Context& context);

}  // namespace ldie::masks
