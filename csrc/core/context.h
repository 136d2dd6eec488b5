// SPDX-License-Identifier: Apache-2.0
// What a launcher gets from the tensor side besides its arguments. Torch-free.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ldie {

class Context {
 public:
  explicit Context(void* stream) : stream(stream) {}
  virtual ~Context() = default;

  // Memory on the op's device, aligned as PyTorch's allocators align (64 bytes on the CPU, 512 on CUDA), that lives
  // until the op returns (on CUDA: until the work queued on the stream by then is done). Never null, also for 0 bytes.
  virtual void* scratch(size_t bytes) = 0;

  template <typename T>
  T* scratch_array(int64_t count) {
    return static_cast<T*>(scratch(size_t(count) * sizeof(T)));
  }

  void* const stream;  // the current cudaStream_t; null on the CPU
};

}  // namespace ldie
