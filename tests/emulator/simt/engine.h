// SPDX-License-Identifier: Apache-2.0
// What kernels and the engine know of each other. The engine is a separate set of translation units, because
// sanitizer instrumentation belongs in the kernels alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "simt/types.h"

namespace simt {

struct Current {  // what the running CUDA thread reads through threadIdx and its kin
  uint3 thread_index{}, block_index{};
  dim3 block_size, grid_size;
  int lane = 0;
};
extern constinit Current current;

struct Kernel {  // a kernel with its arguments bound: one call runs one CUDA thread
  explicit Kernel(std::string kernel_name) : name(std::move(kernel_name)) {}
  virtual ~Kernel() = default;
  virtual void operator()() const = 0;
  const std::string name;
};

template <class... Parameters>
class BoundKernel final : public Kernel {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "kernel parameters are copied as bytes to a GPU");

 public:
  template <class... Arguments>
  BoundKernel(std::string kernel_name, void (*function)(Parameters...), Arguments&&... arguments)
      : Kernel(std::move(kernel_name)), function_(function), arguments_(std::forward<Arguments>(arguments)...) {}
  void operator()() const override { std::apply(function_, arguments_); }

 private:
  void (*function_)(Parameters...);
  std::tuple<Parameters...> arguments_;
};

// Runs the grid to its end. Throws std::runtime_error naming kernel, block, thread and source line when it cannot.
void run_grid(const Kernel& kernel, dim3 grid, dim3 block, std::size_t shared_bytes);

template <class... Parameters, class... Arguments>
void launch(std::string name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Arguments&&... arguments) {
  run_grid(BoundKernel<Parameters...>(std::move(name), kernel, std::forward<Arguments>(arguments)...), grid, block,
           shared_bytes);
}

enum class WarpOp : std::uint8_t {
  syncwarp,
  shuffle,
  ballot,
  any,
  all,
  match_any,
  match_all,
  add,
  min_signed,
  min_unsigned,
  max_signed,
  max_unsigned,
  bit_and,
  bit_or,
  bit_xor,
};

// For the running CUDA thread:
// Waits for the block; returns for how many of its threads the predicate held.
int wait_block(bool predicate, std::source_location where);
std::uint64_t wait_warp(WarpOp op, unsigned mask, std::uint64_t value, int source_lane, std::source_location where);
void* shared_array(const void* identity, const char* name, std::size_t bytes, std::size_t alignment,
                   std::source_location where = std::source_location::current());
void* dynamic_shared(std::source_location where = std::source_location::current());
[[noreturn]] void fail(const char* what, std::source_location where);

#if defined(SIMT_RACE)
void note_fence();
void note_atomic(const void* address, std::size_t bytes, const void* program_counter);
#else
inline void note_fence() {}
#endif

template <class V>
std::uint64_t to_bits(V value) {
  static_assert(sizeof(V) <= 8 && std::is_trivially_copyable_v<V>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class V>
V from_bits(std::uint64_t bits) {
  V value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

}  // namespace simt
