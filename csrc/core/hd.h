// SPDX-License-Identifier: Apache-2.0
// LDIE_HD marks the math that CPU loops and CUDA kernels share.
#pragma once

#if defined(__CUDACC__)
#define LDIE_HD __host__ __device__ __forceinline__
#else
#define LDIE_HD inline __attribute__((always_inline))
#endif
