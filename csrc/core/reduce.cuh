// SPDX-License-Identifier: Apache-2.0
// Reductions over a warp, a block and the blocks of a grid, for .cu files. Every thread gets the result; the order of
// the operations is fixed, so that a result does not change from run to run.
#pragma once

#include "core/simt.cuh"

namespace ldie {

constexpr int kWarpSize = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Maximum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};
struct Minimum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};

// All 32 lanes of the warp must call.
template <class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = op(value, __shfl_xor_sync(kFullWarp, value, distance));
  }
  return value;
}

// All threads of a one-dimensional block of kThreads must call; `identity` is op's neutral element.
template <int kThreads, class T, class Op>
__device__ __forceinline__ T block_reduce(T value, T identity, Op op) {
  static_assert(kThreads % kWarpSize == 0 && kThreads <= kWarpSize * kWarpSize);
  constexpr int kWarps = kThreads / kWarpSize;
  value = warp_reduce(value, op);
  if constexpr (kWarps > 1) {
    LDIE_SHARED(T, of_warp, [kWarps]);
    const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
    __syncthreads();  // the array may still be read by a call before this one
    if (lane == 0) of_warp[warp] = value;
    __syncthreads();
    value = warp_reduce(lane < kWarps ? of_warp[lane] : identity, op);
  }
  return value;
}

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce(value, Sum());
}

template <int kThreads, class T>
__device__ __forceinline__ T block_sum(T value) {
  return block_reduce<kThreads>(value, T(0), Sum());
}

// The sum of count values, such as what the blocks of an earlier launch left, by one block and in a fixed order.
template <int kThreads, class T>
__device__ __forceinline__ T ordered_sum(const T* values, int64_t count) {
  T sum = T(0);
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += values[i];
  return block_sum<kThreads>(sum);
}

// Whether this is the last of `blocks` blocks to get here; it then sees all that the others wrote to global memory
// before they did. All threads of the block must call. *arrived is 0 before the launch and is 0 again after it.
__device__ __forceinline__ bool is_last_block(unsigned* arrived, unsigned blocks) {
  LDIE_SHARED(int, last, );
  __syncthreads();  // the block's writes come before its arrival
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
    __threadfence();                                      // release them (fences are cumulative)
    last = atomicInc(arrived, blocks - 1) == blocks - 1;  // wraps to 0 at the last
    __threadfence();                                      // acquire the other blocks'
  }
  __syncthreads();
  return last != 0;
}

}  // namespace ldie
