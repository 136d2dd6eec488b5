// SPDX-License-Identifier: Apache-2.0
// Masks of one size in any of the forms that ops take, and what is computed from pairs of them.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/integers.h"
#include "masks/polygon_set.h"
#include "masks/run_set.h"

namespace ldie::masks {

enum class MaskForm { dense, packed, runs, polygons };

struct MaskSet {
  MaskForm form;
  const uint8_t*
      masks;    // [count, height, row_bytes()], 0 or 1, or 8 pixels a byte with bit 0 leftmost; of the first two forms
  RunSet runs;  // of runs alone
  int64_t count, height, width;  // less than 2^31 pixels a mask
  PolygonSet polygons = {};      // of polygons alone

  LDIE_HD int64_t row_bytes() const { return form == MaskForm::dense ? width : ceil_div(width, 8); }
  LDIE_HD int64_t mask_bytes() const { return height * row_bytes(); }
  LDIE_HD int64_t pixels() const { return height * width; }
  LDIE_HD bool packed() const { return form == MaskForm::packed; }
  LDIE_HD bool has_pixels() const { return form == MaskForm::dense || packed(); }
  LDIE_HD const uint8_t* mask(int64_t n) const { return masks + n * mask_bytes(); }
  // Whether a pixel belongs to a mask in memory.
  LDIE_HD bool holds(int64_t n, int64_t y, int64_t x) const {
    const uint8_t* const row = mask(n) + y * row_bytes();
    return packed() ? (row[x / 8] >> (x % 8) & 1) != 0 : row[x] != 0;
  }
};

// Pixels [left, right) x [top, bottom); empty at first.
struct MaskBox {
  int64_t left = INT64_MAX, top = INT64_MAX, right = 0, bottom = 0;

  LDIE_HD bool empty() const { return left >= right; }

  LDIE_HD void include(const MaskBox& other) {
    left = other.left < left ? other.left : left;
    top = other.top < top ? other.top : top;
    right = other.right > right ? other.right : right;
    bottom = other.bottom > bottom ? other.bottom : bottom;
  }

  // Pixels [begin, end), counted column by column.
  LDIE_HD void include_run(int64_t begin, int64_t end, int64_t height) {
    if (begin >= end) return;
    const int64_t first = begin / height, last = (end - 1) / height;
    const bool one = first == last;  // a run over several columns touches both borders
    include({first, one ? begin - first * height : 0, last + 1, one ? end - first * height : height});
  }
};

// Intersection over union as pycocotools': 0 when nothing is shared, and of a crowd `b` only how much of `a` it covers.
LDIE_HD double mask_overlap(int64_t intersection, int64_t area_a, int64_t area_b, bool crowd) {
  if (intersection == 0) return 0;
  return double(intersection) / double(crowd ? area_a : area_a + area_b - intersection);
}

}  // namespace ldie::masks
