// SPDX-License-Identifier: Apache-2.0
// Floor: the bytes of the runs.
#include "core/parallel_cpu.h"
#include "masks/rle_area.h"
#include "masks/run_set_cpu.h"

namespace ldie::masks {

void rle_area(const RleArea& args, Context&) {
  constexpr int64_t kRunsPerTask = 1 << 15;
  parallel_for(args.masks.count, masks_per_task(args.masks, kRunsPerTask), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const RowRange runs = args.masks.runs_of(n);
      int64_t area = 0;
      for (int64_t i = runs.begin + 1; i < runs.end; i += 2) area += args.masks.counts[i];
      args.areas[n] = area;
    }
  });
}

}  // namespace ldie::masks
