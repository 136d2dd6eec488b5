// SPDX-License-Identifier: Apache-2.0
// Masks as bits, their areas and the pixels that pairs of them share. Include it in .cu files.
//   bits           packed masks are taken as they are where words can be read from them; of others each is read once
//                  and 1/8 of its pixels written; runs are drawn to packed rows first
//   areas          the bits read once
//   intersections  a product of bit matrices on tensor cores (1.3e9 words of pairs for 200 x 200 masks of 800x1333), so
//                  that the floor is the bits, read from the second-level cache once per 128 masks of the other side
// For 200 x 200 dense ones these take 110 us on an H200, as long as a copy, 18 and 79.
#pragma once

#include <algorithm>

#include "core/grid.cuh"
#include "core/integers.h"
#include "core/reduce.cuh"
#include "masks/bit_product.cuh"
#include "masks/drawn_masks.cuh"
#include "masks/mask_set.h"
#include "masks/mask_words.cuh"

namespace ldie::masks {

struct MaskBits {
  const uint32_t* words;    // [count, per_mask], in the order of the pixels, 0 beyond them
  int64_t count, per_mask;  // per_mask: a multiple of kWordsARead

  __device__ const uint4* row(int64_t mask) const { return reinterpret_cast<const uint4*>(words + mask * per_mask); }
};

namespace {

constexpr int kBitThreads = 256;
constexpr int kWordsARead = 4;

inline dim3 bit_blocks(int64_t items) {
  const int64_t blocks = ceil_div(items, kBitThreads);
  return dim3(unsigned(blocks < (1 << 20) ? blocks : 1 << 20));
}

__global__ void __launch_bounds__(kBitThreads) mask_bits_kernel(MaskSet set, uint32_t* words, int64_t per_mask) {
  const int64_t step = grid_threads<kBitThreads>(), bytes = set.mask_bytes();
  const int64_t bytes_per_word = set.form == MaskForm::dense ? 32 : 4;
  for (int64_t i = thread_index<kBitThreads>(); i < set.count * per_mask; i += step) {
    const int64_t mask = i / per_mask, begin = (i - mask * per_mask) * bytes_per_word;
    words[i] = load_word(set.mask(mask), begin, bytes, set.form);
  }
}

constexpr int kAreaThreads = 512;

__global__ void __launch_bounds__(kAreaThreads) mask_areas_kernel(MaskBits bits, int32_t* areas) {
  const uint4* const words = bits.row(blockIdx.x);
  int32_t area = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < bits.per_mask / kWordsARead; i += kAreaThreads) {
    const uint4 own = words[i];
    area += __popc(own.x) + __popc(own.y) + __popc(own.z) + __popc(own.w);
  }
  area = block_sum<kAreaThreads>(area);
  if (threadIdx.x == 0) areas[blockIdx.x] = area;
}

__global__ void __launch_bounds__(kBitThreads) clear_counts_kernel(int32_t* counts, int64_t size) {
  const int64_t step = grid_threads<kBitThreads>();
  for (int64_t i = thread_index<kBitThreads>(); i < size; i += step) counts[i] = 0;
}

// A block takes 128 x 128 pairs of masks, a warp 32 x 32 of them: 2 x 4 products, kStep words of each mask at a time.
constexpr int kPairSide = 32, kWarpsASide = 4, kPairTile = kPairSide * kWarpsASide, kStep = 4 * kWordsARead;
constexpr int kPairThreads = kWarpSize * kWarpsASide * kWarpsASide;

// Of lane 4 g + t: kWordsARead words from 4 t on of masks g, g + 8, g + 16 and g + 24.
struct PairWords {
  uint4 of_mask[kPairSide / 8];
};

__device__ __forceinline__ PairWords load_pair_words(const MaskBits& bits, int64_t first, int64_t word, int64_t end) {
  const int lane = int(threadIdx.x) % kWarpSize;
  const int64_t own = word + kWordsARead * (lane % 4);
  PairWords words;
#pragma unroll
  for (int i = 0; i < kPairSide / 8; ++i) {
    const int64_t mask = min(first + 8 * i + lane / 4, bits.count - 1);  // what is beyond the last is not used
    words.of_mask[i] = own < end ? __ldg(bits.row(mask) + own / kWordsARead) : make_uint4(0, 0, 0, 0);
  }
  return words;
}

__device__ __forceinline__ void add_pair_words(int32_t (&sums)[2][4][4], const PairWords& a, const PairWords& b) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint4 &upper = a.of_mask[2 * i], &lower = a.of_mask[2 * i + 1];
    const uint32_t first[4] = {upper.x, lower.x, upper.y, lower.y}, second[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint32_t other_first[2] = {b.of_mask[j].x, b.of_mask[j].y};
      const uint32_t other_second[2] = {b.of_mask[j].z, b.of_mask[j].w};
      add_bit_product(sums[i][j], first, other_first);
      add_bit_product(sums[i][j], second, other_second);
    }
  }
}

__device__ inline void add_count(int32_t* counts, const MaskBits& a, const MaskBits& b, int64_t i, int64_t j,
                                 int32_t count) {
  if (i < a.count && j < b.count && count != 0) atomicAdd(&counts[i * b.count + j], count);
}

// Blocks (tile of b, tile of a, share of the words); sums of integers do not depend on the order of the blocks. Warps
// of a block read the same words at about the same time, from the first-level cache.
__global__ void __launch_bounds__(kPairThreads)
    intersections_kernel(MaskBits a, MaskBits b, int64_t words_per_block, int32_t* counts) {
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  const int64_t begin = int64_t(blockIdx.z) * words_per_block, end = min(a.per_mask, begin + words_per_block);
  const int64_t first_b = int64_t(blockIdx.x) * kPairTile + warp % kWarpsASide * kPairSide;
  for (int64_t first_a = int64_t(blockIdx.y) * kPairTile + warp / kWarpsASide * kPairSide;
       first_a < a.count && first_b < b.count; first_a += int64_t(gridDim.y) * kPairTile) {
    int32_t sums[2][4][4] = {};
    PairWords own = load_pair_words(a, first_a, begin, end), other = load_pair_words(b, first_b, begin, end);
    for (int64_t word = begin; word < end; word += kStep) {
      const PairWords next_own = load_pair_words(a, first_a, word + kStep, end);
      const PairWords next_other = load_pair_words(b, first_b, word + kStep, end);
      add_pair_words(sums, own, other);
      own = next_own;
      other = next_other;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t row = first_a + 16 * i + lane / 4, column = first_b + 8 * j + lane % 4 * 2;
        add_count(counts, a, b, row, column, sums[i][j][0]);
        add_count(counts, a, b, row, column + 1, sums[i][j][1]);
        add_count(counts, a, b, row + 8, column, sums[i][j][2]);
        add_count(counts, a, b, row + 8, column + 1, sums[i][j][3]);
      }
    }
  }
}

inline MaskBits mask_bits(Context& context, const MaskSet& given) {
  constexpr int64_t kReadBytes = 4 * kWordsARead;
  const MaskSet set = with_pixels(context, given);
  if (set.form != MaskForm::dense && set.mask_bytes() % kReadBytes == 0 &&
      reinterpret_cast<uintptr_t>(set.masks) % kReadBytes == 0) {
    return {reinterpret_cast<const uint32_t*>(set.masks), set.count, set.mask_bytes() / 4};
  }
  const int64_t bytes_a_read = set.form == MaskForm::dense ? 8 * kReadBytes : kReadBytes;
  const int64_t per_mask = ceil_div(set.mask_bytes(), bytes_a_read) * kWordsARead;
  auto* const words = context.scratch_array<uint32_t>(set.count * per_mask);
  LDIE_LAUNCH(mask_bits_kernel, bit_blocks(set.count * per_mask), dim3(kBitThreads), 0, context.stream, set, words,
              per_mask);
  return {words, set.count, per_mask};
}

inline int32_t* mask_areas(Context& context, const MaskBits& bits) {
  auto* const areas = context.scratch_array<int32_t>(bits.count);
  LDIE_LAUNCH(mask_areas_kernel, dim3(unsigned(bits.count)), dim3(kAreaThreads), 0, context.stream, bits, areas);
  return areas;
}

// [a.count, b.count]
inline int32_t* intersections(Context& context, const MaskBits& a, const MaskBits& b) {
  auto* const counts = context.scratch_array<int32_t>(a.count * b.count);
  LDIE_LAUNCH(clear_counts_kernel, bit_blocks(a.count * b.count), dim3(kBitThreads), 0, context.stream, counts,
              a.count * b.count);
  constexpr int64_t kBlocks = 256, kLeastWords = 16 * kStep;
  const int64_t tiles_a = ceil_div(a.count, kPairTile), tiles_b = ceil_div(b.count, kPairTile);
  const int64_t shares = kBlocks / (tiles_a * tiles_b + 1) + 1;
  const int64_t share = ceil_div(a.per_mask, shares);
  const int64_t words = round_up(std::max(share, kLeastWords), kStep);
  const dim3 grid(unsigned(tiles_b), grid_side(tiles_a), unsigned(ceil_div(a.per_mask, words)));
  LDIE_LAUNCH(intersections_kernel, grid, dim3(kPairThreads), 0, context.stream, a, b, words, counts);
  return counts;
}

}  // namespace
}  // namespace ldie::masks
