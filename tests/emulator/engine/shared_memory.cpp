// SPDX-License-Identifier: Apache-2.0
#include "engine/shared_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "engine/asan.h"
#include "race/hooks.h"

namespace simt {
namespace {
constexpr std::size_t kMinimumAlignment = 16;
}

void SharedMemory::Release::operator()(char* arena) const {
  asan::unpoison(arena, kArenaBytes);
  std::free(arena);
}

SharedMemory::SharedMemory() : arena_(static_cast<char*>(std::aligned_alloc(256, kArenaBytes))) {
  if (!arena_) throw std::bad_alloc();
  asan::poison(arena_.get(), kArenaBytes);
  reset();
}

SharedMemory::~SharedMemory() = default;

void SharedMemory::reset() {
  asan::poison(arena_.get(), used_);
  used_ = kGuardBytes;
  allocated_ = 0;
  arrays_.clear();
}

void* SharedMemory::find(const void* identity) const {
  for (const Array& array : arrays_) {
    if (array.identity == identity) return array.data;
  }
  return nullptr;
}

void* SharedMemory::allocate(const void* identity, const char* name, std::size_t bytes, std::size_t alignment) {
  alignment = std::max(alignment, kMinimumAlignment);
  const std::size_t start = (used_ + alignment - 1) / alignment * alignment;
  if (start + bytes + kGuardBytes > kArenaBytes) throw std::bad_alloc();
  char* data = arena_.get() + start;
  used_ = start + bytes + kGuardBytes;
  allocated_ += bytes;
  asan::unpoison(data, bytes);
  std::memset(data, 0xFF, bytes);
  arrays_.push_back({identity, data});
  race::shared_array(name, data, bytes);
  return data;
}

}  // namespace simt
