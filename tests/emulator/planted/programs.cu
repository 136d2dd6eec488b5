// SPDX-License-Identifier: Apache-2.0
#include "core/simt.cuh"
#include "planted/programs.h"

namespace programs {
namespace {

template <class T>
__device__ unsigned load_or_store(const Step& step, unsigned char* memory) {
  T* const place = reinterpret_cast<T*>(memory + step.address);
  if (step.operation == kLoad) return unsigned(*place);
  *place = T(step.address);
  return 0;
}

__device__ unsigned perform(const Step& step, unsigned char* memory) {
  switch (step.operation) {
    case kSyncWarp: __syncwarp(); return 0;
    case kAtomicAdd: return atomicAdd(reinterpret_cast<unsigned*>(memory + step.address), 1u);
    default: break;
  }
  switch (step.bytes) {
    case 1: return load_or_store<std::uint8_t>(step, memory);
    case 2: return load_or_store<std::uint16_t>(step, memory);
    case 4: return load_or_store<std::uint32_t>(step, memory);
    default: return load_or_store<std::uint64_t>(step, memory);
  }
}

__global__ void program(const Step* steps, Shape shape, unsigned char* global, unsigned* used) {
  LDIE_SHARED(unsigned long long, shared, [kMemoryBytes / 8]);
  for (int i = int(threadIdx.x); i < kMemoryBytes / 8; i += int(blockDim.x)) shared[i] = 0;
  __syncthreads();
  unsigned char* const memory = shape.in_shared_memory ? reinterpret_cast<unsigned char*>(shared) : global;
  unsigned sum = 0;
  for (int phase = 0; phase < shape.phases; ++phase) {
    const int row = (int(blockIdx.x) * shape.phases + phase) * shape.threads + int(threadIdx.x);
    for (int i = 0; i < shape.steps; ++i) sum += perform(steps[row * shape.steps + i], memory);
    __syncthreads();
  }
  atomicAdd(used, sum);  // so that no load is optimised away
}

}  // namespace

void run(const Step* steps, const Shape& shape, unsigned char* memory) {
  unsigned used = 0;
  LDIE_LAUNCH(program, unsigned(shape.blocks), unsigned(shape.threads), 0, nullptr, steps, shape, memory, &used);
}

}  // namespace programs
