// SPDX-License-Identifier: Apache-2.0
// Masks as bits in scratch memory, their areas and the pixels that pairs of them share. Include it in .cu files.
//   bits           each mask read once and 1/8 of its pixels written; runs are drawn to packed rows first
//   areas          the bits read once
//   intersections  a word of both masks costs an AND, a population count and a sum: for 200 x 200 masks of 800x1333,
//                  1.3e9 counts, which bound it; the bits are read once per 32 masks of the other side
#pragma once

#include <algorithm>

#include "core/reduce.cuh"
#include "masks/mask_set.h"
#include "masks/mask_words.cuh"
#include "masks/rle_decode.h"

namespace ldie {

struct MaskBits {
  uint32_t* words;  // [count, per_mask], in the order of the pixels
  int64_t count, per_mask;
};

namespace {

constexpr int kBitThreads = 256;

inline dim3 bit_blocks(int64_t items) {
  const int64_t blocks = (items + kBitThreads - 1) / kBitThreads;
  return dim3(unsigned(blocks < (1 << 20) ? blocks : 1 << 20));
}

__global__ void __launch_bounds__(kBitThreads) mask_bits_kernel(MaskSet set, const uint8_t* masks, MaskBits bits) {
  const int64_t step = int64_t(gridDim.x) * kBitThreads, bytes = set.mask_bytes();
  const int64_t bytes_per_word = set.form == MaskForm::dense ? 32 : 4;
  for (int64_t i = int64_t(blockIdx.x) * kBitThreads + threadIdx.x; i < bits.count * bits.per_mask; i += step) {
    const int64_t begin = i % bits.per_mask * bytes_per_word;
    bits.words[i] = load_word(masks + i / bits.per_mask * bytes + begin, bytes - begin, set.form);
  }
}

__global__ void __launch_bounds__(kBitThreads) mask_areas_kernel(MaskBits bits, int32_t* areas) {
  const uint32_t* const words = bits.words + int64_t(blockIdx.x) * bits.per_mask;
  int32_t area = 0;
  for (int64_t i = threadIdx.x; i < bits.per_mask; i += kBitThreads) area += __popc(words[i]);
  area = block_sum<kBitThreads>(area);
  if (threadIdx.x == 0) areas[blockIdx.x] = area;
}

__global__ void __launch_bounds__(kBitThreads) clear_counts_kernel(int32_t* counts, int64_t size) {
  const int64_t step = int64_t(gridDim.x) * kBitThreads;
  for (int64_t i = int64_t(blockIdx.x) * kBitThreads + threadIdx.x; i < size; i += step) counts[i] = 0;
}

constexpr int kPairTile = 32, kPairWords = 32, kPairSide = 16;  // 16 x 16 threads, 2 x 2 pairs each
static_assert(kPairSide * kPairSide == kBitThreads);

// Words [word, word + kPairWords) of kPairTile masks; zeros beyond them. Neighbours in a warp read neighbouring words.
__device__ inline void stage_words(const MaskBits& bits, int64_t mask, int64_t word, int64_t end,
                                   uint32_t (*staged)[kPairWords + 1]) {
  for (int i = threadIdx.x; i < kPairTile * kPairWords; i += kBitThreads) {
    const int64_t row = mask + i / kPairWords, column = word + i % kPairWords;
    const bool inside = row < bits.count && column < end;
    staged[i / kPairWords][i % kPairWords] = inside ? bits.words[row * bits.per_mask + column] : 0;
  }
}

__device__ inline void add_count(int32_t* counts, const MaskBits& a, const MaskBits& b, int64_t i, int64_t j,
                                 int32_t count) {
  if (i < a.count && j < b.count && count != 0) atomicAdd(&counts[i * b.count + j], count);
}

// Blocks (tile of b, tile of a, share of the words); sums of integers do not depend on the order of the blocks.
__global__ void __launch_bounds__(kBitThreads)
    intersections_kernel(MaskBits a, MaskBits b, int64_t words_per_block, int32_t* counts) {
  LDIE_SHARED(uint32_t, staged_a, [kPairTile][kPairWords + 1]);
  LDIE_SHARED(uint32_t, staged_b, [kPairTile][kPairWords + 1]);
  const int row = int(threadIdx.x) / kPairSide, column = int(threadIdx.x) % kPairSide;
  const int64_t begin = int64_t(blockIdx.z) * words_per_block, end = min(a.per_mask, begin + words_per_block);
  const int64_t first_b = int64_t(blockIdx.x) * kPairTile;
  for (int64_t first_a = int64_t(blockIdx.y) * kPairTile; first_a < a.count;
       first_a += int64_t(gridDim.y) * kPairTile) {
    int32_t count00 = 0, count01 = 0, count10 = 0, count11 = 0;
    for (int64_t word = begin; word < end; word += kPairWords) {
      stage_words(a, first_a, word, end, staged_a);
      stage_words(b, first_b, word, end, staged_b);
      __syncthreads();
#pragma unroll 8
      for (int k = 0; k < kPairWords; ++k) {
        const uint32_t a0 = staged_a[row][k], a1 = staged_a[row + kPairSide][k];
        const uint32_t b0 = staged_b[column][k], b1 = staged_b[column + kPairSide][k];
        count00 += __popc(a0 & b0);
        count01 += __popc(a0 & b1);
        count10 += __popc(a1 & b0);
        count11 += __popc(a1 & b1);
      }
      __syncthreads();
    }
    const int64_t i = first_a + row, j = first_b + column;
    add_count(counts, a, b, i, j, count00);
    add_count(counts, a, b, i, j + kPairSide, count01);
    add_count(counts, a, b, i + kPairSide, j, count10);
    add_count(counts, a, b, i + kPairSide, j + kPairSide, count11);
  }
}

inline const uint8_t* draw_runs(Context& context, const MaskSet& set) {
  auto* const masks = context.scratch_array<uint8_t>(set.count * set.mask_bytes());
  rle_decode({set.counts, set.offsets, set.runs, set.count, set.height, set.width, true, false, masks}, context);
  return masks;
}

inline MaskBits mask_bits(Context& context, const MaskSet& set) {
  const int64_t bytes_per_word = set.form == MaskForm::dense ? 32 : 4;
  const int64_t per_mask = (set.mask_bytes() + bytes_per_word - 1) / bytes_per_word;
  const uint8_t* const masks = set.form == MaskForm::runs ? draw_runs(context, set) : set.masks;
  const MaskBits bits{context.scratch_array<uint32_t>(set.count * per_mask), set.count, per_mask};
  LDIE_LAUNCH(mask_bits_kernel, bit_blocks(set.count * per_mask), dim3(kBitThreads), 0, context.stream, set, masks,
              bits);
  return bits;
}

inline int32_t* mask_areas(Context& context, const MaskBits& bits) {
  auto* const areas = context.scratch_array<int32_t>(bits.count);
  LDIE_LAUNCH(mask_areas_kernel, dim3(unsigned(bits.count)), dim3(kBitThreads), 0, context.stream, bits, areas);
  return areas;
}

// [a.count, b.count]
inline int32_t* intersections(Context& context, const MaskBits& a, const MaskBits& b) {
  auto* const counts = context.scratch_array<int32_t>(a.count * b.count);
  const dim3 block(kBitThreads);
  LDIE_LAUNCH(clear_counts_kernel, bit_blocks(a.count * b.count), block, 0, context.stream, counts, a.count * b.count);
  constexpr int64_t kBlocks = 1024, kLeastWords = 16 * kPairWords;
  const int64_t tiles_a = (a.count + kPairTile - 1) / kPairTile, tiles_b = (b.count + kPairTile - 1) / kPairTile;
  const int64_t shares = kBlocks / (tiles_a * tiles_b + 1) + 1;
  const int64_t share = (a.per_mask + shares - 1) / shares;
  const int64_t words = (std::max(share, kLeastWords) + kPairWords - 1) / kPairWords * kPairWords;
  const dim3 grid(unsigned(tiles_b), unsigned(std::min<int64_t>(tiles_a, 65535)),
                  unsigned((a.per_mask + words - 1) / words));
  LDIE_LAUNCH(intersections_kernel, grid, block, 0, context.stream, a, b, words, counts);
  return counts;
}

}  // namespace
}  // namespace ldie
