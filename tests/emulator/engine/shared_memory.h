// SPDX-License-Identifier: Apache-2.0
// The shared memory of the block that runs: one arena with a guard zone after every array.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace simt {

class SharedMemory {
 public:
  static constexpr std::size_t kStaticLimit = 48 * 1024;  // what nvcc accepts as __shared__ arrays
  static constexpr std::size_t kBlockLimit = 227 * 1024;  // static and dynamic together, compute capability 9.0

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void reset();  // a new block: nothing is allocated
  void* find(const void* identity) const;
  // Allocates an array filled with 0xFF (NaN, -1), so that reading what was never written shows.
  void* allocate(const void* identity, const char* name, std::size_t bytes, std::size_t alignment);

  std::size_t allocated() const { return allocated_; }
  const char* low() const { return arena_.get(); }
  const char* high() const { return arena_.get() + kArenaBytes; }

 private:
  static constexpr std::size_t kArenaBytes = 512 * 1024, kGuardBytes = 64;
  struct Array {
    const void* identity;
    char* data;
  };
  struct Release {
    void operator()(char* arena) const;
  };
  std::unique_ptr<char[], Release> arena_;
  std::size_t used_ = 0, allocated_ = 0;
  std::vector<Array> arrays_;
};

}  // namespace simt
