// SPDX-License-Identifier: Apache-2.0
// Storing mask cells from bits. Include it in .cu files.
#pragma once

#include "core/bits.h"
#include "core/simt.cuh"

namespace ldie {

constexpr int kCellsPerStore = 16;  // one 16-byte store of bools

// 4 bits spread over the 4 bytes of a word: bit i becomes byte i = 0 or 1.
__device__ __forceinline__ uint32_t spread_4_bits(uint32_t bits) { return ((bits & 0xfu) * 0x00204081u) & 0x01010101u; }

// Stores `count` <= 16 cells of a row, from cell x on: a byte each, or 8 a byte when packed (x a multiple of 8 then).
__device__ inline void store_cells(uint8_t* row, int64_t x, int32_t count, uint32_t bits, bool packed) {
  if (packed) {
    for (int32_t byte = 0; byte * 8 < count; ++byte) row[x / 8 + byte] = uint8_t(bits >> (byte * 8));
    return;
  }
  uint8_t* const cells = row + x;
  if (count == kCellsPerStore && reinterpret_cast<uintptr_t>(cells) % 16 == 0) {
    *reinterpret_cast<uint4*>(cells) =
        make_uint4(spread_4_bits(bits), spread_4_bits(bits >> 4), spread_4_bits(bits >> 8), spread_4_bits(bits >> 12));
    return;
  }
  for (int32_t i = 0; i < count;) {
    if (i + 4 <= count && reinterpret_cast<uintptr_t>(cells + i) % 4 == 0) {
      *reinterpret_cast<uint32_t*>(cells + i) = spread_4_bits(bits >> i);
      i += 4;
    } else {
      cells[i] = (bits >> i) & 1u;
      ++i;
    }
  }
}

}  // namespace ldie
