// SPDX-License-Identifier: Apache-2.0
// Storing mask cells from bits. Include it in .cu files.
#pragma once

#include "core/bits.h"
#include "core/simt.cuh"

namespace ldie {

constexpr int kCellsPerStore = 16;  // one 16-byte store of bools

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

// Stores the pixels of a rectangle that a block of kThreads holds as kWords * 32 columns by kRows rows of bits; the
// first is pixel (top, left), left a multiple of 8, of the mask. 16 columns a thread, so that a warp stores whole rows;
// bools are cut where the addresses are multiples of 16, which a row need not begin at.
template <int kThreads, int kRows, int kWords>
__device__ void store_rectangle(const uint32_t (&bits)[kRows][kWords], uint8_t* mask, int64_t row_bytes, bool packed,
                                int64_t top, int64_t left, int64_t height, int64_t width) {
  constexpr int kColumns = 32 * kWords, kStores = kColumns / kCellsPerStore + 1;
  const int columns = int(min(int64_t(kColumns), width - left));
  for (int i = threadIdx.x; i < kRows * kStores; i += kThreads) {
    const int row = i / kStores, store = i % kStores;
    uint8_t* const to = mask + (top + row) * row_bytes;
    const int before = packed ? 0 : int(reinterpret_cast<uintptr_t>(to + left) % kCellsPerStore);
    const int cut = store * kCellsPerStore - before, begin = max(0, cut), end = min(columns, cut + kCellsPerStore);
    if (top + row >= height || begin >= end) continue;
    const int word = begin / 32;
    const uint64_t next = word + 1 < kWords ? bits[row][word + 1] : 0u;
    store_cells(to, left + begin, end - begin, uint32_t((next << 32 | bits[row][word]) >> begin % 32), packed);
  }
}

}  // namespace ldie
