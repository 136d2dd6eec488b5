// SPDX-License-Identifier: Apache-2.0
// How many distinct classes cover each cell of a map: K[b, y, x] = sum_c M[b, c, y, x], from the boxes themselves or
// from dense masks. It is all that a sum over masked scores needs of M.
#pragma once

#include <cstdint>

#include "adversarial/pixel_box.h"
#include "core/ragged.h"

namespace ldie::adversarial {

enum class MaskSource { kEverywhere, kBoxes, kMasks };  // kEverywhere: M = 1 with one plane

struct ClassCounts {
  MaskSource source;
  BoxRows boxes;           // kBoxes: [rows, 4] x1 y1 x2 y2, in cells
  const int64_t* labels;   // kBoxes: [rows]
  const int64_t* offsets;  // kBoxes: [batch + 1]
  int64_t rows;
  const uint8_t* masks;  // kMasks: [batch, mask_planes, height, width], not 0 where covered
  int64_t mask_planes;
  int64_t batch, planes;  // planes: Nc, which is 1 when class-agnostic
  int64_t height, width;
  bool class_agnostic;  // K = 1 wherever any class covers the cell
  Rounding rounding;

  LDIE_HD int64_t pixels() const { return height * width; }
  LDIE_HD PixelBox cells(int64_t row) const { return boxes.cells(row, rounding, height, width); }
  // The label that decides which boxes unite, or -1 for a box that is left out.
  LDIE_HD int64_t label(int64_t row) const {
    if (class_agnostic) return 0;
    return labels[row] >= 0 && labels[row] < planes ? labels[row] : -1;
  }
};

}  // namespace ldie::adversarial
