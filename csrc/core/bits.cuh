// SPDX-License-Identifier: Apache-2.0
// Storing mask cells from bits. Include it in .cu files.
#pragma once

#include "core/bits.h"
#include "core/simt.cuh"

namespace ldie {

constexpr int kCellsPerStore = 16;  // one 16-byte store of bools

// Stores `count` <= 16 cells of a row, from cell x (a multiple of 16) on: a byte each, or 8 a byte when packed.
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
  for (int32_t i = 0; i < count; ++i) cells[i] = (bits >> i) & 1u;
}

// Stores the pixels of a rectangle that a block of kThreads holds as kWords * 32 columns by kRows rows of bits; the
// first is pixel (top, left), a multiple of 16, of the mask. 16 columns a thread, so that a warp stores whole rows.
template <int kThreads, int kRows, int kWords>
__device__ void store_rectangle(const uint32_t (&bits)[kRows][kWords], uint8_t* mask, int64_t row_bytes, bool packed,
                                int64_t top, int64_t left, int64_t height, int64_t width) {
  constexpr int kStores = 32 * kWords / kCellsPerStore;
  for (int i = threadIdx.x; i < kRows * kStores; i += kThreads) {
    const int row = i / kStores, store = i % kStores;
    const int64_t y = top + row, x = left + store * kCellsPerStore;
    if (y >= height || x >= width) continue;
    const uint32_t cells = bits[row][store / 2] >> (store % 2 * kCellsPerStore);
    store_cells(mask + y * row_bytes, x, int32_t(min(int64_t(kCellsPerStore), width - x)), cells & 0xffffu, packed);
  }
}

}  // namespace ldie
