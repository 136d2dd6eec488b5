// SPDX-License-Identifier: Apache-2.0
// The one include of every .cu file: CUDA itself under nvcc; under any other compiler the SIMT emulator of
// tests/emulator, which runs the same kernels on the CPU.
//
//   LDIE_SHARED(float, tile, [32][33]);   // __shared__ float tile[32][33];   a scalar: LDIE_SHARED(int, count, );
//   LDIE_DYNAMIC_SHARED(float, buffer);   // float* buffer: the shared bytes asked for at launch
//   LDIE_LAUNCH((kernel<T, 4>), grid, block, shared_bytes, stream, arguments...);
//
// Shared memory goes through macros because the emulator gives every block fresh, guarded, poisoned arrays; a plain
// __shared__ does not compile there.
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#define LDIE_EMULATED 0
#define LDIE_SHARED(T, name, dims) __shared__ T name dims
#define LDIE_DYNAMIC_SHARED(T, name)                                         \
  extern __shared__ __align__(16) unsigned char ldie_dynamic_shared_bytes[]; \
  T* name = reinterpret_cast<T*>(ldie_dynamic_shared_bytes)

// CUDA adds to unsigned 64-bit words only; two's complement makes the signed sum the same bits.
__device__ inline long long atomicAdd(long long* address, long long value) {
  return static_cast<long long>(
      atomicAdd(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value)));
}
__device__ inline long atomicAdd(long* address, long value) {
  static_assert(sizeof(long) == 8);
  return static_cast<long>(
      atomicAdd(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value)));
}
#else
#include "simt/cuda.h"

#define LDIE_EMULATED 1
#define LDIE_SHARED(T, name, dims) SIMT_SHARED(T, name, dims)
#define LDIE_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(::simt::dynamic_shared())
#endif

namespace ldie {
namespace detail {

// "(kernel<T, 4>)", as a macro argument with a comma must be written, -> "kernel<T, 4>"
inline std::string kernel_name(std::string text) {
  const bool wrapped = text.size() > 1 && text.front() == '(' && text.back() == ')';
  return wrapped ? text.substr(1, text.size() - 2) : text;
}

#if !LDIE_EMULATED
inline std::string extent(dim3 d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}

template <class... Parameters, class... Arguments>
void start(const char* text, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
           void* stream, Arguments&&... arguments) {
  constexpr std::size_t kSharedWithoutAsking = 48 * 1024;  // LDIE_SHARED's arrays and the dynamic ones together
  const void* const function = reinterpret_cast<const void*>(kernel);
  cudaError_t status = cudaSuccess;
  cudaFuncAttributes attributes{};
  if (shared_bytes > 0) status = cudaFuncGetAttributes(&attributes, function);
  if (attributes.sharedSizeBytes + shared_bytes > kSharedWithoutAsking) {
    // Never less than before: another thread may have asked for more, and not started its kernel yet.
    const int most = std::max(static_cast<int>(shared_bytes), attributes.maxDynamicSharedSizeBytes);
    status = cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
  }
  if (status == cudaSuccess) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    status = cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
  }
  if (status != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // or the next CUDA call of someone else would report it again
    throw std::runtime_error("launch of " + kernel_name(text) + " failed: " + cudaGetErrorString(status) + "; grid " +
                             extent(grid) + ", block " + extent(block) + ", " + std::to_string(shared_bytes) +
                             " bytes of dynamic shared memory");
  }
}
#else
template <class... Parameters, class... Arguments>
void start(const char* text, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
           void* /*stream*/, Arguments&&... arguments) {
  ::simt::launch(kernel_name(text), kernel, grid, block, shared_bytes, std::forward<Arguments>(arguments)...);
}
#endif

}  // namespace detail

// Starts the kernel on the stream (a cudaStream_t) and never waits for it; a grid without blocks is nothing to do.
template <class... Parameters, class... Arguments>
void launch(const char* text, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            void* stream, Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  detail::start(text, kernel, grid, block, shared_bytes, stream, std::forward<Arguments>(arguments)...);
}

}  // namespace ldie

#define LDIE_LAUNCH(kernel, ...) ::ldie::launch(#kernel, kernel, __VA_ARGS__)
