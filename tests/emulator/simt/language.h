// SPDX-License-Identifier: Apache-2.0
// CUDA's keywords and built-in variables.
#pragma once

#include "simt/engine.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__

#define threadIdx (static_cast<const uint3&>(::simt::current.thread_index))
#define blockIdx (static_cast<const uint3&>(::simt::current.block_index))
#define blockDim (static_cast<const dim3&>(::simt::current.block_size))
#define gridDim (static_cast<const dim3&>(::simt::current.grid_size))
inline constexpr int warpSize = 32;

// One array per block for each place this stands at, as __shared__ means it; the static is only its identity.
#define SIMT_SHARED(T, name, dims)                          \
  static const char simt_identity_##name = 0;               \
  using simt_type_##name = T dims;                          \
  simt_type_##name& name = *static_cast<simt_type_##name*>( \
      ::simt::shared_array(&simt_identity_##name, #name, sizeof(simt_type_##name), alignof(simt_type_##name)))

#define SIMT_HERE std::source_location where = std::source_location::current()
inline void __syncthreads(SIMT_HERE) { simt::wait_block(false, where); }
inline int __syncthreads_count(int predicate, SIMT_HERE) { return simt::wait_block(predicate != 0, where); }
inline int __syncthreads_or(int predicate, SIMT_HERE) { return simt::wait_block(predicate != 0, where) != 0; }
inline int __syncthreads_and(int predicate, SIMT_HERE) { return simt::wait_block(predicate == 0, where) == 0; }
inline void __threadfence() { simt::note_fence(); }
inline void __threadfence_block() {}  // orders nothing that the race checker could rely on: see README.md
inline void __trap(SIMT_HERE) { simt::fail("__trap", where); }

#undef SIMT_HERE
