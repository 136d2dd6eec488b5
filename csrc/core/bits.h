// SPDX-License-Identifier: Apache-2.0
// Mask cells as bits (the lowest is the leftmost cell) and as bytes of 0 or 1.
#pragma once

#include <cstdint>
#include <cstring>

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

// 4 bits spread over the 4 bytes of a word: bit i becomes byte i = 0 or 1.
LDIE_HD uint32_t spread_4_bits(uint32_t bits) { return ((bits & 0xfu) * 0x00204081u) & 0x01010101u; }

// 8 bits spread over 8 bytes. Every byte first holds only its own bit; adding 127 carries it to the byte's top.
LDIE_HD uint64_t spread_8_bits(uint64_t bits) {
  const uint64_t own = ((bits & 0xff) * 0x0101010101010101u) & 0x8040201008040201u;
  return ((own + 0x7f7f7f7f7f7f7f7fu) >> 7) & 0x0101010101010101u;
}

// The inverse: 8 bytes of 0 or 1 to the bits of one. The product brings byte i to bit 56 + i, without a carry.
LDIE_HD uint64_t gather_8_bits(uint64_t bytes) { return (bytes * 0x0102040810204080u) >> 56; }
inline uint8_t gather_8_bits(const uint8_t* cells) {
  uint64_t bytes;
  memcpy(&bytes, cells, sizeof bytes);
  return uint8_t(gather_8_bits(bytes));
}

}  // namespace ldie
