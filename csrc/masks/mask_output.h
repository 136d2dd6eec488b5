// SPDX-License-Identifier: Apache-2.0
// Masks that ops draw.
#pragma once

#include <cstdint>

#include "core/bits.h"

namespace ldie::masks {

struct MaskOutput {
  uint8_t* masks;  // [.., height, row_bytes()], 0 or 1, or 8 pixels a byte with bit 0 leftmost
  int64_t height, width;
  bool packed;
  bool zeroed;  // the masks are zero already (CPU)

  LDIE_HD int64_t row_bytes() const { return mask_row_bytes(width, packed); }
  LDIE_HD int64_t mask_bytes() const { return height * row_bytes(); }
  LDIE_HD int64_t pixels() const { return height * width; }
  LDIE_HD uint8_t* mask(int64_t n) const { return masks + n * mask_bytes(); }
};

}  // namespace ldie::masks
