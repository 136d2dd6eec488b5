// SPDX-License-Identifier: Apache-2.0
// What AddressSanitizer must be told: stack switches and guarded memory. Nothing without it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

namespace simt::asan {
inline void poison(const void* memory, std::size_t bytes) { __asan_poison_memory_region(memory, bytes); }
inline void unpoison(const void* memory, std::size_t bytes) { __asan_unpoison_memory_region(memory, bytes); }
inline void leave_stack(void** fake_stack, const void* next_stack, std::size_t bytes) {
  __sanitizer_start_switch_fiber(fake_stack, next_stack, bytes);
}
inline void enter_stack(void* fake_stack, const void** left_stack, std::size_t* left_bytes) {
  __sanitizer_finish_switch_fiber(fake_stack, left_stack, left_bytes);
}
inline constexpr bool kEnabled = true;
}  // namespace simt::asan
#else
namespace simt::asan {
inline void poison(const void*, std::size_t) {}
inline void unpoison(const void*, std::size_t) {}
inline void leave_stack(void**, const void*, std::size_t) {}
inline void enter_stack(void*, const void**, std::size_t*) {}
inline constexpr bool kEnabled = false;
}  // namespace simt::asan
#endif
