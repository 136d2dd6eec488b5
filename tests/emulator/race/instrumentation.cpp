// SPDX-License-Identifier: Apache-2.0
// The run-time calls that g++ -fsanitize=thread plants in the kernels end here instead of in libtsan.
#include "race/checker.h"

using simt::race::Checker;
using simt::race::kAtomic;
using simt::race::kRead;
using simt::race::kWrite;

#define SIMT_PLANTED(name, bytes, kind) \
  void name(void* address) { Checker::instance().access(address, bytes, kind, __builtin_return_address(0)); }
#define SIMT_PLANTED_OF_SIZE(size)                                \
  SIMT_PLANTED(__tsan_read##size, size, kRead)                    \
  SIMT_PLANTED(__tsan_write##size, size, kWrite)                  \
  SIMT_PLANTED(__tsan_volatile_read##size, size, kRead | kAtomic) \
  SIMT_PLANTED(__tsan_volatile_write##size, size, kWrite | kAtomic)

// Host code of a .cu file, such as a shared_ptr in the standard library, may use real atomics.
#define SIMT_HOST_ATOMICS(bits, T)                                                                        \
  T __tsan_atomic##bits##_load(const volatile T* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); } \
  void __tsan_atomic##bits##_store(volatile T* p, T v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); } \
  T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }

extern "C" {
SIMT_PLANTED_OF_SIZE(1)
SIMT_PLANTED_OF_SIZE(2)
SIMT_PLANTED_OF_SIZE(4)
SIMT_PLANTED_OF_SIZE(8)
SIMT_PLANTED_OF_SIZE(16)
void __tsan_read_range(void* address, std::size_t bytes) {
  Checker::instance().access(address, bytes, kRead, __builtin_return_address(0));
}
void __tsan_write_range(void* address, std::size_t bytes) {
  Checker::instance().access(address, bytes, kWrite, __builtin_return_address(0));
}
SIMT_HOST_ATOMICS(8, std::uint8_t)
SIMT_HOST_ATOMICS(32, std::uint32_t)
SIMT_HOST_ATOMICS(64, std::uint64_t)
void __tsan_vptr_update(void*, void*) {}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
}
