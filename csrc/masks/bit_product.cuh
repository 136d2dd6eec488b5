// SPDX-License-Identifier: Apache-2.0
// A warp's product of bit matrices, sums of popcount(a & b), on tensor cores. Include it in .cu files.
#pragma once

#include "core/reduce.cuh"

namespace ldie::masks {

// sums[16][8] += a[16][256 bits] * b[8][256 bits]. Of lane 4 g + t: a[0], a[1] are words t of rows g and g + 8, a[2],
// a[3] their words t + 4; b[0], b[1] words t and t + 4 of row g; sums[0], sums[1] row g, columns 2 t and 2 t + 1, and
// sums[2], sums[3] row g + 8. Any order of the words will do that is the same for a and b.
__device__ __forceinline__ void add_bit_product(int32_t (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if !LDIE_EMULATED && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  const int lane = int(threadIdx.x) % kWarpSize, row = lane / 4, column = lane % 4 * 2;
#pragma unroll 1
  for (int t = 0; t < 4; ++t) {
    uint32_t of_row[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) of_row[i] = __shfl_sync(kFullWarp, a[i], 4 * row + t);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint32_t low = __shfl_sync(kFullWarp, b[0], 4 * (column + j) + t);
      const uint32_t high = __shfl_sync(kFullWarp, b[1], 4 * (column + j) + t);
      sums[j] += __popc(of_row[0] & low) + __popc(of_row[2] & high);
      sums[2 + j] += __popc(of_row[1] & low) + __popc(of_row[3] & high);
    }
  }
#endif
}

}  // namespace ldie::masks
