// SPDX-License-Identifier: Apache-2.0
// Runs on the CPU.
#pragma once

#include "masks/run_set.h"

namespace ldie::masks {

// Calls use(begin, end) for the pixels of each run of ones of a mask, read column by column.
template <typename Use>
void for_each_run(const RunSet& set, int64_t mask, const Use& use) {
  const RowRange runs = set.runs_of(mask);
  int64_t position = 0;
  for (int64_t i = runs.begin; i < runs.end; ++i) {
    const int64_t end = position + set.counts[i];
    if ((i - runs.begin) % 2 == 1) use(position, end);
    position = end;
  }
}

inline int64_t masks_per_task(const RunSet& set, int64_t runs_per_task) {
  return runs_per_task / (set.runs / (set.count + 1) + 1) + 1;
}

}  // namespace ldie::masks
