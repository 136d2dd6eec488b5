// SPDX-License-Identifier: Apache-2.0
// Planted bugs in the order of accesses: barriers left out, plain updates of what others update too, results
// published too early.
#include "core/reduce.cuh"
#include "planted/cases.h"

namespace {

using planted::kBins;
using planted::kThreads;

constexpr int kBlocks = 8;

template <bool kBug>
__global__ void no_barrier_before_read_above(float* out) {
  LDIE_SHARED(float, values, [kThreads]);
  values[threadIdx.x] = float(threadIdx.x + 1);
  if (!kBug) __syncthreads();
  out[threadIdx.x] = values[(threadIdx.x + 1) % kThreads];
}

template <bool kBug>
__global__ void no_barrier_before_read_below(float* out) {  // right by luck when threads run in forward order
  LDIE_SHARED(float, values, [kThreads]);
  values[threadIdx.x] = float(threadIdx.x + 1);
  if (!kBug) __syncthreads();
  out[threadIdx.x] = threadIdx.x ? values[threadIdx.x - 1] : 0.0f;
}

template <bool kBug>
__global__ void no_barrier_before_reuse(float* out) {  // a write after a read
  LDIE_SHARED(float, values, [kThreads]);
  float sum = 0;
  for (int k = 0; k < 3; ++k) {
    values[threadIdx.x] = float(threadIdx.x * (k + 1));
    __syncthreads();
    sum += values[(threadIdx.x + 97) % kThreads];
    if (!kBug) __syncthreads();
  }
  out[threadIdx.x] = sum;
}

template <bool kBug>
__global__ void no_syncwarp(float* out) {  // lanes trade through shared memory
  LDIE_SHARED(float, values, [kThreads]);
  values[threadIdx.x] = float(threadIdx.x);
  if (!kBug) __syncwarp();
  out[threadIdx.x] = values[threadIdx.x ^ 1];
}

template <bool kBug>
__global__ void plain_histogram(const int* bin, int* histogram) {
  LDIE_SHARED(int, count, [kBins]);
  if (threadIdx.x < kBins) count[threadIdx.x] = 0;
  __syncthreads();
  if (kBug) {
    count[bin[threadIdx.x]]++;
  } else {
    atomicAdd(&count[bin[threadIdx.x]], 1);
  }
  __syncthreads();
  if (threadIdx.x < kBins) atomicAdd(&histogram[threadIdx.x], count[threadIdx.x]);
}

template <bool kBug>
__global__ void plain_sum_over_blocks(float* out) {
  if (threadIdx.x != 0) return;
  if (kBug) {
    out[0] += 1;
  } else {
    atomicAdd(out, 1.0f);
  }
}

template <bool kBug>
__global__ void everyone_stores_the_flag(float* out) {  // the same value, but a race all the same
  if (kBug || threadIdx.x == 0) out[0] = 1;
}

template <bool kBug>
__global__ void reads_other_blocks(float* out) {  // which have not been waited for
  out[blockIdx.x] = float(blockIdx.x + 1);
  if (blockIdx.x != gridDim.x - 1) return;
  float sum = 0;
  for (unsigned i = kBug ? 0 : blockIdx.x; i < gridDim.x; ++i) sum += out[i];
  out[kThreads - 1] = sum;
}

// The last block to arrive adds up what all have stored; the bugs take one part of the protocol away.
template <bool kFence, bool kBarrier>
__device__ void sum_in_last_block(float* partial, unsigned* counter) {
  LDIE_SHARED(int, last, );
  const int thread = int(threadIdx.x), own = int(blockIdx.x) * 8 + thread;
  if (thread < 8) partial[own] = float(own);
  if (kBarrier) __syncthreads();
  if (thread == 0) {
    if (kFence) __threadfence();
    last = atomicAdd(counter, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || thread != 0) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x * 8; ++i) sum += partial[i];
  partial[kThreads - 1] = sum;
}

template <bool kBug>
__global__ void last_block_without_fence(float* out, unsigned* counter) {
  sum_in_last_block<!kBug, true>(out, counter);
}

template <bool kBug>
__global__ void last_block_without_barrier(float* out, unsigned* counter) {  // the other threads may not have stored
  sum_in_last_block<true, !kBug>(out, counter);
}

template <bool kBug>
__global__ void stored_after_the_fence(float* out, unsigned* counter) {
  if (!kBug) out[blockIdx.x] = float(blockIdx.x);
  __threadfence();
  if (kBug) out[blockIdx.x] = float(blockIdx.x);
  if (atomicAdd(counter, 1u) != gridDim.x - 1) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += out[i];
  out[kThreads - 1] = sum;
  *counter = 0;
}

// Every thread fences what it has stored; after the barrier one atomic speaks for all.
template <bool kBug>
__global__ void only_the_leader_fences(float* out, unsigned* counter) {
  LDIE_SHARED(int, last, );
  if (threadIdx.x < 8) out[blockIdx.x * 8 + threadIdx.x] = 1;
  if (!kBug || threadIdx.x == 0) __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(counter, 1u) == gridDim.x - 1;
  __syncthreads();
  if (last && threadIdx.x < 8) atomicAdd(&out[kThreads - 1], out[(gridDim.x - 1 - blockIdx.x) * 8 + threadIdx.x]);
}

// The same among the warps of a grid, without a barrier of the block.
template <bool kBug>
__global__ void last_warp_without_syncwarp(float* out, unsigned* counter) {
  const unsigned warps = gridDim.x * blockDim.x / 32, warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  const unsigned lane = threadIdx.x % 32;
  if (lane < 8) out[warp * 8 + lane] = 1;
  if (!kBug) __syncwarp();
  if (lane != 0) return;
  __threadfence();
  if (atomicAdd(counter, 1u) != warps - 1) return;
  float sum = 0;
  for (unsigned i = 0; i < warps * 8; ++i) sum += out[i];
  out[kThreads - 1] = sum;
}

template <bool kBug>
__global__ void plain_read_of_counter(float* out, unsigned* counter) {  // which others change by atomics
  atomicAdd(counter, 1u);
  unsigned value;
  if (kBug) {
    value = *counter;
  } else {
    value = *static_cast<volatile unsigned*>(counter);
  }
  out[threadIdx.x] = value > 0 ? 1.0f : 0.0f;
}

// The helper of core/reduce.cuh; the bug is not to wait for its answer.
template <bool kBug>
__global__ void reads_before_last_block(float* out, unsigned* counter) {
  if (threadIdx.x < 8) out[blockIdx.x * 8 + threadIdx.x] = 1;
  const bool last = ldie::is_last_block(counter, gridDim.x);
  if (threadIdx.x != 0 || !(last || kBug)) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x * 8; ++i) sum += out[i];
  atomicAdd(&out[kThreads - 1], sum);
}

PLANTED(no_barrier_before_read_above, 1, kThreads, 0, buffers.out)
PLANTED(no_barrier_before_read_below, 1, kThreads, 0, buffers.out)
PLANTED(no_barrier_before_reuse, 1, kThreads, 0, buffers.out)
PLANTED(no_syncwarp, 1, kThreads, 0, buffers.out)
PLANTED(plain_histogram, 1, kThreads, 0, buffers.bin, buffers.histogram)
PLANTED(plain_sum_over_blocks, kBlocks, kThreads, 0, buffers.out)
PLANTED(everyone_stores_the_flag, 1, kThreads, 0, buffers.out)
PLANTED(reads_other_blocks, kBlocks, 1, 0, buffers.out)
PLANTED(last_block_without_fence, kBlocks, 64, 0, buffers.out, buffers.counter)
PLANTED(last_block_without_barrier, kBlocks, 64, 0, buffers.out, buffers.counter)
PLANTED(stored_after_the_fence, kBlocks, 1, 0, buffers.out, buffers.counter)
PLANTED(only_the_leader_fences, kBlocks, 64, 0, buffers.out, buffers.counter)
PLANTED(last_warp_without_syncwarp, kBlocks, 64, 0, buffers.out, buffers.counter)
PLANTED(plain_read_of_counter, 1, kThreads, 0, buffers.out, buffers.counter)
PLANTED(reads_before_last_block, kBlocks, 64, 0, buffers.out, buffers.counter)

}  // namespace
