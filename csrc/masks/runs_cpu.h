// SPDX-License-Identifier: Apache-2.0
// From the changes of masks to their runs, on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "masks/runs.h"

namespace ldie::masks {

// changes[n]: the positions, read column by column, from which mask n has the other value, rising, below `pixels`.
// Writes offsets [masks + 1] and the runs: one more than changes, the first of zeros.
inline void write_runs(const std::vector<std::vector<int32_t>>& changes, int64_t pixels, int64_t* offsets,
                       RunAllocator& allocator) {
  offsets[0] = 0;
  for (size_t n = 0; n < changes.size(); ++n) offsets[n + 1] = offsets[n] + int64_t(changes[n].size()) + 1;
  const Runs runs = allocator.allocate();
  for (size_t n = 0; n < changes.size(); ++n) {
    int32_t before = 0;
    for (size_t i = 0; i <= changes[n].size() && offsets[n] + int64_t(i) < runs.capacity; ++i) {
      const int32_t change = i < changes[n].size() ? changes[n][i] : int32_t(pixels);
      runs.counts[offsets[n] + int64_t(i)] = change - before;
      before = change;
    }
  }
}

}  // namespace ldie::masks
