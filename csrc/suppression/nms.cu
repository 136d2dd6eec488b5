// SPDX-License-Identifier: Apache-2.0
// Sorts by score, brings the boxes of each group together, searches (greedy_search.cuh) and writes the rows kept in the
// order of the scores. Memory is O(boxes); nothing waits for the device, nothing is copied to the host. Besides the
// search the floor is the two sorts: a 4-byte key (8 for groups) and a 4-byte value, read and written once in two
// launches (core/rank_sort.cuh), or from 32k boxes on in each pass of a radix sort. Of 20k uniform boxes' 641 us on an
// H200 the sort takes 16, and the output 13.
#include "core/device_sort.cuh"
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/simt.cuh"
#include "suppression/greedy_search.cuh"
#include "suppression/nms.h"

namespace ldie::suppression {
namespace {

// ---- order
template <typename T>
__global__ void __launch_bounds__(kThreads)
    score_keys_kernel(const T* scores, int64_t count, score_key_t<acc_t<T>>* keys, uint32_t* rows) {
  const int64_t i = thread_index<kThreads>();
  if (i >= count) return;
  keys[i] = score_key(acc_t<T>(scores[i]));
  rows[i] = uint32_t(i);
}

__global__ void __launch_bounds__(kThreads)
    group_keys_kernel(const int64_t* groups, const uint32_t* rows, int64_t count, uint64_t* keys, uint32_t* ranks) {
  const int64_t i = thread_index<kThreads>();
  if (i >= count) return;
  keys[i] = uint64_t(groups[rows[i]]);
  ranks[i] = uint32_t(i);
}

// A group's number is the place of its first box, which a binary search finds.
__global__ void __launch_bounds__(kThreads)
    group_numbers_kernel(const uint64_t* keys, int64_t count, uint32_t* groups) {
  const int64_t i = thread_index<kThreads>();
  if (i >= count) return;
  const uint64_t key = keys[i];
  int64_t begin = 0, end = i;
  while (begin < end) {
    const int64_t middle = (begin + end) / 2;
    if (keys[middle] == key) {
      end = middle;
    } else {
      begin = middle + 1;
    }
  }
  groups[i] = uint32_t(begin);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    gather_boxes_kernel(const T* boxes, const uint32_t* rows, const uint32_t* ranks, int64_t count,
                        Box<acc_t<T>>* sequence, uint32_t* removed) {
  const int64_t i = thread_index<kThreads>();
  if (i >= count) return;
  sequence[i] = load_box(boxes, rows[ranks ? ranks[i] : i]);
  if (i % kWarpSize == 0) removed[i / kWarpSize] = 0;
}

// ---- output
__global__ void __launch_bounds__(kThreads)
    rank_flags_kernel(const uint32_t* kept, const uint32_t* ranks, int64_t count, uint32_t* flags) {
  const int64_t i = thread_index<kThreads>();
  if (i < count) flags[ranks[i]] = kept[i];
}

// sums: how many are kept up to each rank, itself included.
__global__ void __launch_bounds__(kThreads) write_kept_kernel(const uint32_t* rows, const uint32_t* sums, int64_t count,
                                                              int64_t max_output, int64_t* keep, int64_t* kept) {
  const int64_t i = thread_index<kThreads>(), total = count > 0 ? sums[count - 1] : 0;
  if (i < count) {
    const int64_t place = i > 0 ? sums[i - 1] : 0;
    if (place < sums[i] && place < max_output) keep[place] = rows[i];
  }
  if (i >= total && i < max_output) keep[i] = -1;
  if (i == 0) *kept = total < max_output ? total : max_output;
}

// All of the output by one block, for up to kMostFinished boxes: a bit per rank, in whose order the rows are written.
constexpr int kFinishThreads = 1024, kMostFinished = kFinishThreads * kWarpSize;

__global__ void __launch_bounds__(kFinishThreads)
    finish_kernel(const uint32_t* kept_flags, const uint32_t* ranks, const uint32_t* rows, int64_t count,
                  int64_t max_output, int64_t* keep, int64_t* kept) {
  LDIE_SHARED(uint32_t, flags, [kFinishThreads]);
  LDIE_SHARED(uint32_t, before, [kFinishThreads + 1]);
  LDIE_SHARED(uint32_t, of_warp, [kFinishThreads / kWarpSize]);
  const int thread = int(threadIdx.x), lane = thread % kWarpSize, warp = thread / kWarpSize, size = int(count);
  flags[thread] = 0;
  __syncthreads();
#pragma unroll 4
  for (int i = thread; i < size; i += kFinishThreads) {
    const uint32_t rank = ranks ? ranks[i] : uint32_t(i);
    if (kept_flags[i]) atomicOr(&flags[rank / kWarpSize], 1u << rank % kWarpSize);
  }
  __syncthreads();

  uint32_t sum = uint32_t(__popc(flags[thread]));
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const uint32_t other = __shfl_up_sync(kFullWarp, sum, unsigned(distance));
    if (lane >= distance) sum += other;
  }
  if (lane == kWarpSize - 1) of_warp[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum += of_warp[w];
  before[thread + 1] = sum;
  if (thread == 0) before[0] = 0;
  __syncthreads();

  const int64_t total = before[kFinishThreads];
#pragma unroll 4
  for (int i = thread; i < size; i += kFinishThreads) {
    const uint32_t word = flags[i / kWarpSize], own = 1u << lane;
    const int64_t place = before[i / kWarpSize] + uint32_t(__popc(word & (own - 1)));
    if ((word & own) && place < max_output) keep[place] = rows[i];
  }
  for (int64_t i = total + thread; i < max_output; i += kFinishThreads) keep[i] = -1;
  if (thread == 0) *kept = total < max_output ? total : max_output;
}

}  // namespace

template <typename T>
void nms(const Nms<T>& args, Context& context) {
  using A = acc_t<T>;
  using Key = score_key_t<A>;
  const int64_t count = args.count;
  const dim3 grid = blocks_for(count), block(kThreads);

  auto* const keys = context.scratch_array<Key>(count);
  auto* const unsorted = context.scratch_array<uint32_t>(count);
  LDIE_LAUNCH(score_keys_kernel<T>, grid, block, 0, context.stream, args.scores, count, keys, unsorted);
  uint32_t* const rows = sorted_values(context, keys, context.scratch_array<Key>(count), unsorted, count);

  uint32_t *ranks = nullptr, *groups = nullptr;
  if (args.groups) {
    auto* const ids = context.scratch_array<uint64_t>(count);
    auto* const sorted_ids = context.scratch_array<uint64_t>(count);
    LDIE_LAUNCH(group_keys_kernel, grid, block, 0, context.stream, args.groups, rows, count, ids, unsorted);
    ranks = sorted_values(context, ids, sorted_ids, unsorted, count);
    groups = context.scratch_array<uint32_t>(count);
    LDIE_LAUNCH(group_numbers_kernel, grid, block, 0, context.stream, sorted_ids, count, groups);
  }

  auto* const boxes = context.scratch_array<Box<A>>(count);
  const Sequences<A> sequence = make_sequences(context, 1, count, boxes, groups, args.iou_threshold);
  LDIE_LAUNCH(gather_boxes_kernel<T>, grid, block, 0, context.stream, args.boxes, rows, ranks, count, boxes,
              sequence.removed);
  greedy_search(sequence, context.stream);

  if (count <= kMostFinished && args.max_output <= kMostFinished) {
    LDIE_LAUNCH(finish_kernel, dim3(1), dim3(kFinishThreads), 0, context.stream, sequence.kept, ranks, rows, count,
                args.max_output, args.keep, args.kept);
    return;
  }
  uint32_t* sums = sequence.kept;
  if (ranks) {
    sums = unsorted;  // no longer needed as such
    LDIE_LAUNCH(rank_flags_kernel, grid, block, 0, context.stream, sequence.kept, ranks, count, sums);
  }
  inclusive_sum(context, sums, sums, count);
  const int64_t outputs = args.max_output > count ? args.max_output : count;
  LDIE_LAUNCH(write_kept_kernel, blocks_for(outputs > 0 ? outputs : 1), block, 0, context.stream, rows, sums, count,
              args.max_output, args.keep, args.kept);
}

LDIE_INSTANTIATE(nms, Nms);

}  // namespace ldie::suppression
