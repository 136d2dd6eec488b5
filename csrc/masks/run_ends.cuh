// SPDX-License-Identifier: Apache-2.0
// Where runs end, for kernels that take a run a thread. Include it in .cu files.
#pragma once

#include "core/device_sort.cuh"
#include "core/grid.cuh"
#include "core/pack.cuh"
#include "masks/run_set.h"

namespace ldie::masks {
namespace {

constexpr int kRunEndThreads = 128;

__global__ void __launch_bounds__(kRunEndThreads) widen_kernel(const int32_t* counts, int64_t* ends, int64_t runs) {
  const int64_t step = grid_threads<kRunEndThreads>();
  for (int64_t i = thread_index<kRunEndThreads>(); i < runs; i += step) ends[i] = counts[i];
}

// ends[i]: the sum of all counts up to and with run i, over all masks. Scratch memory of the context.
inline const int64_t* run_ends(const RunSet& set, Context& context) {
  int64_t* const ends = context.scratch_array<int64_t>(set.runs);
  LDIE_LAUNCH(widen_kernel, dim3(loop_blocks(set.runs, kRunEndThreads)), dim3(kRunEndThreads), 0, context.stream,
              set.counts, ends, set.runs);
  inclusive_sum(context, ends, ends, set.runs);
  return ends;
}

}  // namespace
}  // namespace ldie::masks
