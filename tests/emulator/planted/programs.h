// SPDX-License-Identifier: Apache-2.0
// Random programs of memory accesses, to compare the race checker with the truth.
#pragma once

#include <cstdint>

namespace programs {

enum Operation : std::uint8_t { kLoad, kStore, kAtomicAdd, kSyncWarp };

struct Step {  // what one thread does in one turn
  std::uint8_t operation, bytes;
  std::uint16_t address;
};

struct Shape {
  std::int32_t blocks, threads, phases, steps;  // phases are separated by __syncthreads
  std::int32_t in_shared_memory;
};

constexpr int kMemoryBytes = 256;

// steps [blocks, phases, threads, steps]; memory [kMemoryBytes] when not in shared memory
void run(const Step* steps, const Shape& shape, unsigned char* memory);

}  // namespace programs
