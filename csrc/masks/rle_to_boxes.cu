// SPDX-License-Identifier: Apache-2.0
// A prefix sum tells where runs end; then a block a mask. Floor: 20 bytes a run.
#include <algorithm>

#include "core/device_sort.cuh"
#include "core/reduce.cuh"
#include "masks/rle_to_boxes.h"

namespace ldie {
namespace {

constexpr int kThreads = 128;

__global__ void __launch_bounds__(kThreads) widen_kernel(const int32_t* counts, int64_t* ends, int64_t runs) {
  const int64_t step = int64_t(gridDim.x) * kThreads;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < runs; i += step) ends[i] = counts[i];
}

// ends: sum of all counts up to and with a run, over all masks.
__global__ void __launch_bounds__(kThreads) rle_to_boxes_kernel(RleToBoxes args, const int64_t* ends) {
  const int64_t mask = blockIdx.x;
  const RowRange runs = row_range(args.offsets, mask, args.runs);
  const int64_t start = runs.begin == 0 ? 0 : ends[runs.begin - 1], height = args.height(mask);
  PixelBox box;
  for (int64_t i = runs.begin + 1 + 2 * int64_t(threadIdx.x); i < runs.end; i += 2 * kThreads) {
    box.include_run(ends[i - 1] - start, ends[i] - start, height);
  }
  box.left = block_reduce<kThreads>(box.left, int64_t(INT64_MAX), Minimum());
  box.top = block_reduce<kThreads>(box.top, int64_t(INT64_MAX), Minimum());
  box.right = block_reduce<kThreads>(box.right, int64_t(0), Maximum());
  box.bottom = block_reduce<kThreads>(box.bottom, int64_t(0), Maximum());
  if (threadIdx.x == 0) args.write(mask, box);
}

}  // namespace

void rle_to_boxes(const RleToBoxes& args, Context& context) {
  auto* const ends = context.scratch_array<int64_t>(args.runs);
  const int64_t blocks = std::min<int64_t>((args.runs + kThreads - 1) / kThreads, 1 << 16);
  const dim3 block(kThreads);
  LDIE_LAUNCH(widen_kernel, dim3(unsigned(blocks)), block, 0, context.stream, args.counts, ends, args.runs);
  inclusive_sum(context, ends, ends, args.runs);
  LDIE_LAUNCH(rle_to_boxes_kernel, dim3(unsigned(args.count)), block, 0, context.stream, args, ends);
}

}  // namespace ldie
