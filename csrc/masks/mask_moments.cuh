// SPDX-License-Identifier: Apache-2.0
// Moments of masks on CUDA: blocks take shares of the rows, and whoever uses the moments adds the shares in their
// order. Include it in .cu files. Floor: the bytes of the masks.
#pragma once

#include <algorithm>

#include "core/reduce.cuh"
#include "masks/mask_moments.h"
#include "masks/mask_words.cuh"

namespace ldie {
namespace {

constexpr int kMomentThreads = 256;

// All threads of a block must call; every thread gets the sum.
__device__ inline MaskMoments block_sum_moments(const MaskMoments& own) {
  MaskMoments sum;
  sum.box.left = block_reduce<kMomentThreads>(own.box.left, int64_t(INT64_MAX), Minimum());
  sum.box.top = block_reduce<kMomentThreads>(own.box.top, int64_t(INT64_MAX), Minimum());
  sum.box.right = block_reduce<kMomentThreads>(own.box.right, int64_t(0), Maximum());
  sum.box.bottom = block_reduce<kMomentThreads>(own.box.bottom, int64_t(0), Maximum());
  sum.area = block_sum<kMomentThreads>(own.area);
  sum.sum_x = block_sum<kMomentThreads>(own.sum_x);
  sum.sum_y = block_sum<kMomentThreads>(own.sum_y);
  return sum;
}

// Blocks (mask, share of its rows). Dense rows are read from the boundary before them on, so that all words but the
// first and the last are read aligned. shares: [count, gridDim.y]
__global__ void __launch_bounds__(kMomentThreads)
    mask_moments_kernel(MaskSet set, int64_t rows_per_share, MaskMoments* shares) {
  const bool dense = set.form == MaskForm::dense;
  const int64_t row_bytes = set.row_bytes(), bytes_per_word = dense ? 32 : 4,
                most_before = dense ? kLoadBoundary - 1 : 0;
  const int64_t words = (most_before + row_bytes + bytes_per_word - 1) / bytes_per_word;
  const int64_t top = int64_t(blockIdx.y) * rows_per_share, bottom = min(set.height, top + rows_per_share);
  const uint8_t* const mask = set.masks + int64_t(blockIdx.x) * set.mask_bytes();
  MaskMoments moments;
  for (int64_t i = top * words + threadIdx.x; i < bottom * words; i += kMomentThreads) {
    const int64_t y = i / words;
    const uint8_t* const row = mask + y * row_bytes;
    const int64_t before = dense ? int64_t(reinterpret_cast<uintptr_t>(row) % kLoadBoundary) : 0;
    const int64_t word = i % words * bytes_per_word - before, begin = max(int64_t(0), word);
    const uint32_t bits = load_word(row + begin, min(row_bytes, word + bytes_per_word) - begin, set.form);
    moments.add(bits, dense ? begin : 8 * begin, y);
  }
  moments = block_sum_moments(moments);
  if (threadIdx.x == 0) shares[int64_t(blockIdx.x) * gridDim.y + blockIdx.y] = moments;
}

template <typename Use>
__global__ void __launch_bounds__(kMomentThreads)
    use_moments_kernel(const MaskMoments* shares, int64_t per_mask, int64_t count, Use use) {
  const int64_t n = int64_t(blockIdx.x) * kMomentThreads + threadIdx.x;
  if (n >= count) return;
  MaskMoments moments;
  for (int64_t share = 0; share < per_mask; ++share) moments.add(shares[n * per_mask + share]);
  use(n, moments);
}

// Queues use(mask, its moments) for every mask of a set that is not of runs.
template <typename Use>
void use_moments(Context& context, const MaskSet& set, const Use& use) {
  constexpr int64_t kBlocks = 1024, kLeastRows = 8;
  const int64_t shares = std::max<int64_t>(1, std::min(kBlocks / (set.count + 1) + 1, set.height / kLeastRows));
  const int64_t rows = (set.height + shares - 1) / shares;
  auto* const moments = context.scratch_array<MaskMoments>(set.count * shares);
  const dim3 block(kMomentThreads);
  LDIE_LAUNCH(mask_moments_kernel, dim3(unsigned(set.count), unsigned(shares)), block, 0, context.stream, set, rows,
              moments);
  LDIE_LAUNCH(use_moments_kernel<Use>, dim3(unsigned((set.count + kMomentThreads - 1) / kMomentThreads)), block, 0,
              context.stream, moments, shares, set.count, use);
}

}  // namespace
}  // namespace ldie
