// SPDX-License-Identifier: Apache-2.0
// Mask cells as bits (the lowest is the leftmost cell) and as bytes of 0 or 1.
#pragma once

#include <cstdint>

#include "core/hd.h"
#include "core/integers.h"

namespace ldie {

// Bytes of a row of masks, a cell each or 8 a byte; the last one's cells behind the width are 0.
LDIE_HD int64_t mask_row_bytes(int64_t width, bool packed) { return packed ? ceil_div(width, 8) : width; }

// Bits [begin, end) of a word that holds `count` <= 32 cells from cell `first` on.
LDIE_HD uint32_t covered_bits(int64_t begin, int64_t end, int64_t first, int32_t count) {
  const int64_t low = begin > first ? begin - first : 0, high = end - first < count ? end - first : count;
  if (low >= high) return 0;
  return (0xffffffffu >> (32 - (high - low))) << low;
}

}  // namespace ldie
