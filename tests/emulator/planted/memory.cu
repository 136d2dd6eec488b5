// SPDX-License-Identifier: Apache-2.0
// Planted bugs in addresses: out of bounds, misaligned, overflown, never written.
#include "planted/cases.h"

namespace {

using planted::kInputs;
using planted::kThreads;

template <bool kBug>
__global__ void shared_overrun(float* out) {
  LDIE_SHARED(float, values, [kThreads]);
  LDIE_SHARED(float, after, [kThreads]);
  values[threadIdx.x] = float(threadIdx.x);
  after[threadIdx.x] = 0;
  __syncthreads();
  out[threadIdx.x] = values[(threadIdx.x + 1) % (kBug ? kThreads + 1 : kThreads)] + after[0];
}

__device__ float element(const float* array, int i) { return array[i]; }

template <bool kBug>
__global__ void shared_overrun_by_pointer(float* out) {
  LDIE_SHARED(float, values, [kThreads]);
  LDIE_SHARED(float, after, [kThreads]);
  values[threadIdx.x] = float(threadIdx.x);
  after[threadIdx.x] = 0;
  __syncthreads();
  out[threadIdx.x] = element(values, (threadIdx.x + 1) % (kBug ? kThreads + 1 : kThreads)) + after[0];
}

template <bool kBug>
__global__ void dynamic_shared_overrun(float* out) {
  LDIE_DYNAMIC_SHARED(float, values);
  values[threadIdx.x] = float(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = values[(threadIdx.x + 1) % (kBug ? kThreads + 1 : kThreads)];
}

template <bool kBug>
__global__ void shared_underrun_write(float* out) {
  LDIE_SHARED(float, values, [kThreads]);
  values[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) values[kBug ? -1 : 0] = 2;
  out[threadIdx.x] = 1;
}

template <bool kBug>
__global__ void global_overrun(const float* in, float* out) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (kBug ? i <= kInputs : i < kInputs) {
    const float value = in[i];
    if (value > 100.0f) out[0] = value;
  }
}

template <bool kBug>
__global__ void global_overrun_write(float* out) {
  out[threadIdx.x + (kBug ? 1 : 0)] = 1;
}

template <bool kBug>
__global__ void misaligned_vector(const float* in, float* out) {
  const float4 v = *reinterpret_cast<const float4*>(in + threadIdx.x + (kBug ? 1 : 3 * threadIdx.x));
  out[threadIdx.x] = v.x + v.w;
}

template <bool kBug>
__global__ void index_overflow(float* out, int stride) {  // 32-bit products of indices
  const long long i = kBug ? int(threadIdx.x) * stride : (long long)(threadIdx.x) * stride;
  out[threadIdx.x] = i < 0 ? -1.0f : 1.0f;
}

template <bool kBug>
__global__ void shared_never_written(float* out) {  // by the last threads
  LDIE_SHARED(int, values, [kThreads]);
  if (!kBug || threadIdx.x < kThreads - 6) values[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = float(values[threadIdx.x]);
}

template <bool kBug>
__global__ void dynamic_shared_not_asked_for(float* out) {
  if (kBug) {
    LDIE_DYNAMIC_SHARED(float, values);
    values[threadIdx.x] = 1;
  }
  out[threadIdx.x] = 1;
}

PLANTED(shared_overrun, 1, kThreads, 0, buffers.out)
PLANTED(shared_overrun_by_pointer, 1, kThreads, 0, buffers.out)
PLANTED(dynamic_shared_overrun, 1, kThreads, kThreads * sizeof(float), buffers.out)
PLANTED(shared_underrun_write, 1, kThreads, 0, buffers.out)
PLANTED(global_overrun, kInputs / kThreads + 1, kThreads, 0, buffers.in, buffers.out)
PLANTED(global_overrun_write, 1, kThreads, 0, buffers.out)
PLANTED(misaligned_vector, 1, kThreads, 0, buffers.in, buffers.out)
PLANTED(index_overflow, 1, kThreads, 0, buffers.out, 1 << 24)
PLANTED(shared_never_written, 1, kThreads, 0, buffers.out)
PLANTED(dynamic_shared_not_asked_for, 1, kThreads, 0, buffers.out)

}  // namespace
