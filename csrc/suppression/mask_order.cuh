// SPDX-License-Identifier: Apache-2.0
// Ranks and overlaps of scored masks on CUDA. Include it in .cu files.
#pragma once

#include "core/device_sort.cuh"
#include "core/grid.cuh"
#include "masks/mask_bits.cuh"
#include "suppression/mask_order.h"

namespace ldie::suppression {
namespace {

template <typename T>
__global__ void __launch_bounds__(masks::kBitThreads)
    mask_keys_kernel(const T* scores, int64_t count, score_key_t<acc_t<T>>* keys, uint32_t* rows) {
  const int64_t step = grid_threads<masks::kBitThreads>();
  for (int64_t i = int64_t(blockIdx.x) * masks::kBitThreads + threadIdx.x; i < count; i += step) {
    keys[i] = score_key(acc_t<T>(scores[i]));
    rows[i] = uint32_t(i);
  }
}

// Masks by rank, and what overlaps them.
struct RankedMasks {
  int64_t count;
  const uint32_t* rows;  // [count] by rank
  const int64_t* labels;
  const int32_t* areas;
  const int32_t* intersections;  // [count, count]; both of these by row

  __device__ bool same_label(int64_t i, int64_t j) const { return labels[rows[i]] == labels[rows[j]]; }

  __device__ double overlap(int64_t i, int64_t j) const {
    const int64_t a = rows[i], b = rows[j];
    return masks::mask_overlap(intersections[b * count + a], areas[a], areas[b], false);
  }
};

// Rows by rank.
template <typename T>
const uint32_t* rows_by_score(Context& context, const T* scores, int64_t count) {
  using Key = score_key_t<acc_t<T>>;
  auto *const keys = context.scratch_array<Key>(count), *const sorted_keys = context.scratch_array<Key>(count);
  auto* const rows = context.scratch_array<uint32_t>(count);
  LDIE_LAUNCH(mask_keys_kernel<T>, masks::bit_blocks(count), dim3(masks::kBitThreads), 0, context.stream, scores, count,
              keys, rows);
  return sorted_values(context, keys, sorted_keys, rows, count);
}

template <typename T>
RankedMasks rank_masks(Context& context, const ScoredMasks<T>& args) {
  const int64_t count = args.masks.count;
  const uint32_t* const rows = rows_by_score(context, args.scores, count);
  const masks::MaskBits bits = masks::mask_bits(context, args.masks);
  return {count, rows, args.labels, masks::mask_areas(context, bits), masks::intersections(context, bits, bits)};
}

}  // namespace
}  // namespace ldie::suppression
