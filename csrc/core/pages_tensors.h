// SPDX-License-Identifier: Apache-2.0
// Pages of big CPU tensors. From kBigBytes on glibc's malloc asks the system for fresh memory each time and gives it
// back with the tensor; page faults, 4 KiB at a time, then cost more than the arithmetic of most ops.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "core/allocation_tensors.h"
#include "core/integers.h"

#if defined(LDIE_BACKEND_CPU) && defined(__linux__)
#include <sys/mman.h>
#define LDIE_PAGES 1
#else
#define LDIE_PAGES 0
#endif

namespace ldie {

constexpr int64_t kBigBytes = 32 << 20;

// For tensors just made, before they are written: Linux is asked to provide big ones in pages of 2 MiB, as NumPy does
// it. Only a hint, so failure does not matter.
inline torch::stable::Tensor in_huge_pages(torch::stable::Tensor fresh) {
#if LDIE_PAGES
  constexpr int64_t kPage = 4096;
  int64_t bytes = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_storage_size(fresh.get(), &bytes));
  if (bytes >= kBigBytes) {
    char* const start = static_cast<char*>(fresh.mutable_data_ptr());
    const int64_t before_page = (kPage - int64_t(reinterpret_cast<uintptr_t>(start) % kPage)) % kPage;
    madvise(start + before_page, size_t(bytes - before_page), MADV_HUGEPAGE);
  }
#endif
  return fresh;
}

// Of what ops make: floating numbers, integers and single bytes.
inline int64_t dtype_bytes(torch::headeronly::ScalarType dtype) {
  using torch::headeronly::ScalarType;
  switch (dtype) {
    case ScalarType::Double:
    case ScalarType::Long: return 8;
    case ScalarType::Float:
    case ScalarType::Int: return 4;
    case ScalarType::Half:
    case ScalarType::BFloat16: return 2;
    default: return 1;
  }
}

// None where an int64 cannot hold them.
inline std::optional<int64_t> bytes_of(const std::vector<int64_t>& sizes, torch::headeronly::ScalarType dtype) {
  int64_t bytes = dtype_bytes(dtype);
  bool overflow = false;
  for (const int64_t size : sizes) overflow |= __builtin_mul_overflow(bytes, size, &bytes);
  return overflow ? std::nullopt : std::optional<int64_t>(bytes);
}

// The strides of PyTorch's formats: dimensions in their order, or the second one innermost.
inline std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes, bool channels_last) {
  std::vector<int64_t> strides(sizes.size());
  int64_t count = 1;
  const auto lay = [&](size_t dimension) {
    strides[dimension] = count;
    count *= sizes[dimension] > 1 ? sizes[dimension] : 1;
  };
  if (channels_last) lay(1);
  for (size_t d = sizes.size(); d-- > 0;) {
    if (!channels_last || d != 1) lay(d);
  }
  return strides;
}
struct Block {
  void* memory;
  size_t bytes;
};

#if LDIE_PAGES
// Blocks of outputs and scratch that were freed, kept for the next ones up to a limit (ldie_ext.memory.keep_pages).
class PagePool {
 public:
  bool is_open() const { return limit_.load(std::memory_order_relaxed) > 0; }

  // At most so many bytes stay while nothing uses them; with 0 the pool is closed.
  void set_limit(size_t bytes) {
    const std::lock_guard<std::mutex> guard(mutex_);
    limit_ = bytes;
    shrink(bytes);
  }

  // The smallest that fits and wastes no more than a quarter, or a fresh one.
  Block take(size_t bytes) {
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      size_t best = unused_.size();
      for (size_t i = 0; i < unused_.size(); ++i) {
        const bool fits = unused_[i].bytes >= bytes && unused_[i].bytes <= bytes + bytes / 4;
        if (fits && (best == unused_.size() || unused_[i].bytes < unused_[best].bytes)) best = i;
      }
      if (best < unused_.size()) return remove(best);
    }
    constexpr size_t kHugePage = size_t(2) << 20;
    const size_t size = round_up(bytes, kHugePage);
    void* memory = map(size);
    if (memory == MAP_FAILED) {
      release_all();
      memory = map(size);
    }
    if (memory == MAP_FAILED) throw std::bad_alloc();
    madvise(memory, size, MADV_HUGEPAGE);
    return {memory, size};
  }

  void give_back(const Block& block) {
    const std::lock_guard<std::mutex> guard(mutex_);
    if (block.bytes > limit_) {
      munmap(block.memory, block.bytes);
      return;
    }
    unused_.push_back(block);
    unused_bytes_ += block.bytes;
    shrink(limit_);
  }

 private:
  static void* map(size_t size) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }

  Block remove(size_t place) {
    const Block block = unused_[place];
    unused_.erase(unused_.begin() + int64_t(place));
    unused_bytes_ -= block.bytes;
    return block;
  }

  void shrink(size_t most) {  // the one that was given back first goes first
    while (unused_bytes_ > most) {
      const Block oldest = remove(0);
      munmap(oldest.memory, oldest.bytes);
    }
  }

  void release_all() {
    const std::lock_guard<std::mutex> guard(mutex_);
    shrink(0);
  }

  std::mutex mutex_;
  std::atomic<size_t> limit_{0};
  std::vector<Block> unused_;
  size_t unused_bytes_ = 0;
};

inline PagePool& page_pool() {
  static PagePool& pool = *new PagePool;  // never destroyed: tensors may outlive what the library destroys at the end
  return pool;
}

#endif

// A tensor as make() makes it, from kept pages where it is big and there are such.
template <typename Make>
torch::stable::Tensor make_in_pages(const std::vector<int64_t>& sizes,
                                    [[maybe_unused]] torch::headeronly::ScalarType dtype,
                                    [[maybe_unused]] bool channels_last, const Make& make) {
#if LDIE_PAGES
  const std::optional<int64_t> bytes = page_pool().is_open() ? bytes_of(sizes, dtype) : std::nullopt;
  if (bytes >= kBigBytes) {
    const Block block = allocated(sizes, [&] { return page_pool().take(size_t(*bytes)); });
    return torch::stable::from_blob(block.memory, sizes, strides_of(sizes, channels_last),
                                    torch::stable::Device(torch::headeronly::DeviceType::CPU), dtype,
                                    [block](void*) { page_pool().give_back(block); });
  }
#endif
  return in_huge_pages(allocated(sizes, make));
}

}  // namespace ldie
