// SPDX-License-Identifier: Apache-2.0
// Regression targets of box centres (CenterNet, arXiv:1904.07850): slot m of image b belongs to the image's box m.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/ragged.h"
#include "heatmap/center_cell.h"

namespace ldie::heatmap {

template <typename T>
struct CenterTargets {
  const T* boxes;          // [rows, 4] x1 y1 x2 y2, in cells
  const int64_t* labels;   // [rows]
  const int64_t* offsets;  // [batch + 1]
  int64_t rows, batch, slots;
  int64_t height, width;
  int64_t* index;  // [batch, slots] y * width + x of the centre's cell, -1 where not valid
  T* wh;           // [batch, slots, 2]
  T* offset;       // [batch, slots, 2] centre minus its cell
  bool* valid;     // [batch, slots]

  LDIE_HD void fill(int64_t image, int64_t slot) const {
    const RowRange range = row_range(offsets, image, rows);
    const int64_t row = range.begin + slot, at = image * slots + slot;
    CenterCell<acc_t<T>> cell{};
    if (row < range.end && labels[row] >= 0) cell = center_cell(boxes + 4 * row, height, width);
    index[at] = cell.valid ? cell.y * width + cell.x : -1;
    wh[2 * at] = T(cell.width);
    wh[2 * at + 1] = T(cell.height);
    offset[2 * at] = T(cell.center_x - acc_t<T>(cell.x));
    offset[2 * at + 1] = T(cell.center_y - acc_t<T>(cell.y));
    valid[at] = cell.valid;
  }
};

template <typename T>
void center_targets(const CenterTargets<T>& args, Context& context);

}  // namespace ldie::heatmap
