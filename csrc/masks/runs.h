// SPDX-License-Identifier: Apache-2.0
// Runs of ones, and where ops that make run lengths put them.
#pragma once

#include <cstdint>

namespace ldie::masks {

// A run of ones: pixels start to end - 1 of the mask read column by column.
struct Span {
  uint32_t start, end;
};

// How many runs there are is known only when the masks were read.
struct Runs {
  int32_t* counts;  // [capacity]
  int64_t capacity;
};
class RunAllocator {
 public:
  virtual ~RunAllocator() = default;
  // Called once, when offsets is written (on CUDA: queued to be).
  virtual Runs allocate() = 0;
};

}  // namespace ldie::masks
