// SPDX-License-Identifier: Apache-2.0
// Which cells of a map the boxes of each class cover: M[b, k, y, x] = 1 where a box of image b and class k covers the
// cell (k = 0 for every class when class-agnostic). Boxes of one class unite; they do not add.
#pragma once

#include <cstdint>

#include "adversarial/pixel_box.h"
#include "core/bits.h"
#include "core/context.h"
#include "core/ragged.h"

namespace ldie::adversarial {

template <typename T>
struct BoxClassMasks {
  const T* boxes;               // [rows, 4] x1 y1 x2 y2, in cells
  const int64_t* labels;        // [rows]
  const int64_t* offsets;       // [batch + 1]
  int64_t rows, batch, planes;  // planes: classes, or 1 when class-agnostic
  int64_t height, width;
  bool class_agnostic, packed;
  bool zeroed;  // the masks are zero already (CPU)
  Rounding rounding;
  uint8_t* masks;  // [batch, planes, height, row_bytes()], 0 or 1, or 8 cells a byte with bit 0 leftmost

  LDIE_HD int64_t row_bytes() const { return mask_row_bytes(width, packed); }
  LDIE_HD bool in_plane(int64_t row, int64_t plane) const { return class_agnostic || labels[row] == plane; }
  LDIE_HD PixelBox cells(int64_t row) const { return pixel_box(boxes + 4 * row, rounding, height, width); }
};

template <typename T>
void box_class_masks(const BoxClassMasks<T>& args, Context& context);

}  // namespace ldie::adversarial
