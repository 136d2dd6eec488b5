// SPDX-License-Identifier: Apache-2.0
// COCO's intersection over union. With a crowd the union is the detection alone: it may match any part of the crowd.
#pragma once

#include <cstdint>
#include <vector>

#include "host/rle.h"

namespace ldie::host {

// Of every detection with every ground truth, [gt, dt]. -1 where the sizes of two masks differ and their boxes meet.
void mask_ious(const std::vector<Rle>& dt, const std::vector<Rle>& gt, const uint8_t* crowd, double* ious);

struct Boxes {
  const double* values;  // [count, 4] x, y, width, height
  int64_t count;
};
void box_ious(const Boxes& dt, const Boxes& gt, const uint8_t* crowd, double* ious);

}  // namespace ldie::host
