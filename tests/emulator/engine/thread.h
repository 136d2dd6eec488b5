// SPDX-License-Identifier: Apache-2.0
// One CUDA thread of the block that runs.
#pragma once

#include <cstdint>
#include <source_location>

#include "simt/engine.h"

namespace simt {

class Fiber;

inline constexpr unsigned kWarpSize = 32;
inline constexpr unsigned kMaxThreads = 1024;
inline constexpr unsigned kMaxWarps = kMaxThreads / kWarpSize;

enum class State : std::uint8_t { fresh, ready, running, at_block_barrier, at_warp_op, exited };

struct Thread {
  uint3 index{};
  unsigned linear = 0;
  State state = State::fresh;
  Fiber* fiber = nullptr;  // the stack it was started on
  // while it waits: the call's place, what the thread brings to it, and what it takes from it
  std::source_location where{};
  std::uint64_t value = 0, result = 0;
  // at_warp_op
  WarpOp op{};
  unsigned mask = 0;
  int source_lane = 0;

  unsigned warp() const { return linear / kWarpSize; }
  unsigned lane() const { return linear % kWarpSize; }
};

}  // namespace simt
