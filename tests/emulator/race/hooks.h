// SPDX-License-Identifier: Apache-2.0
// What the engine tells the race checker. Memory accesses reach the checker by themselves, through the calls that
// -fsanitize=thread plants in the kernels. Without the checker nothing is told.
#pragma once

#include <cstddef>
#include <string>

#include "simt/engine.h"

namespace simt::race {

#if defined(SIMT_RACE)
void launch_begins(const std::string& kernel, dim3 block_size);
void block_begins(uint3 block, const void* shared_low, const void* shared_high);
void block_ends();  // throws std::runtime_error when races were seen
void block_abandoned();
void shared_array(const char* name, const void* data, std::size_t bytes);
void thread_runs(unsigned thread, const void* stack_low, const void* stack_high);
void block_barrier();
void warp_barrier(unsigned warp, unsigned lanes);
#else
inline void launch_begins(const std::string&, dim3) {}
inline void block_begins(uint3, const void*, const void*) {}
inline void block_ends() {}
inline void block_abandoned() {}
inline void shared_array(const char*, const void*, std::size_t) {}
inline void thread_runs(unsigned, const void*, const void*) {}
inline void block_barrier() {}
inline void warp_barrier(unsigned, unsigned) {}
#endif

}  // namespace simt::race
