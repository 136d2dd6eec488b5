// SPDX-License-Identifier: Apache-2.0
// Planted bugs in who waits where: divergent barriers, wrong warp masks.
#include "planted/cases.h"

namespace {

using planted::kThreads;

template <bool kBug>
__global__ void exit_before_barrier(float* out) {
  LDIE_SHARED(float, values, [kThreads]);
  values[threadIdx.x] = 1;
  if (kBug && threadIdx.x >= 64) return;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];
}

template <bool kBug>
__global__ void barriers_in_two_branches(float* out) {
  LDIE_SHARED(float, values, [kThreads]);
  values[threadIdx.x] = 1;
  if (!kBug) {
    __syncthreads();
  } else if (threadIdx.x < 64) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

template <bool kBug>
__global__ void barrier_in_uneven_loop(float* out) {  // the trip count depends on the thread
  LDIE_SHARED(float, values, [kThreads]);
  const int trips = kBug ? 1 + (threadIdx.x >= 128) : 2;
  for (int k = 0; k < trips; ++k) {
    values[threadIdx.x] = float(k);
    __syncthreads();
  }
  out[threadIdx.x] = values[threadIdx.x];
}

template <bool kBug>
__global__ void half_warp_at_barrier(float* out) {  // while the other half waits in a shuffle
  float value = float(threadIdx.x);
  if (kBug && threadIdx.x % 32 < 16) __syncthreads();
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  if (!(kBug && threadIdx.x % 32 < 16)) __syncthreads();
  out[threadIdx.x] = value;
}

template <bool kBug>
__global__ void mask_names_absent_lanes(float* out) {  // the others never call
  float value = float(threadIdx.x);
  if (threadIdx.x % 32 < 16) value += __shfl_down_sync(kBug ? 0xffffffffu : 0x0000ffffu, value, 8, 16);
  out[threadIdx.x] = value;
}

template <bool kBug>
__global__ void mask_without_own_lane(float* out) {
  out[threadIdx.x] = __any_sync(kBug ? 0x7fffffffu : 0xffffffffu, threadIdx.x == 0) ? 1.0f : 0.0f;
}

template <bool kBug>
__global__ void shuffle_from_outside_mask(float* out) {
  float value = float(threadIdx.x);
  if (threadIdx.x % 32 < 16) value += __shfl_down_sync(0x0000ffffu, value, 8, kBug ? 32 : 16);
  out[threadIdx.x] = value;
}

template <bool kBug>
__global__ void different_warp_functions(float* out) {  // under the same mask
  unsigned value;
  if (kBug && threadIdx.x % 2) {
    value = __ballot_sync(0xffffffffu, 1);
  } else {
    value = __match_any_sync(0xffffffffu, 1);
  }
  out[threadIdx.x] = float(__popc(value));
}

PLANTED(exit_before_barrier, 1, kThreads, 0, buffers.out)
PLANTED(barriers_in_two_branches, 1, kThreads, 0, buffers.out)
PLANTED(barrier_in_uneven_loop, 1, kThreads, 0, buffers.out)
PLANTED(half_warp_at_barrier, 1, kThreads, 0, buffers.out)
PLANTED(mask_names_absent_lanes, 1, kThreads, 0, buffers.out)
PLANTED(mask_without_own_lane, 1, kThreads, 0, buffers.out)
PLANTED(shuffle_from_outside_mask, 1, kThreads, 0, buffers.out)
PLANTED(different_warp_functions, 1, kThreads, 0, buffers.out)

}  // namespace
