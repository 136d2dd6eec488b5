// SPDX-License-Identifier: Apache-2.0
// Floor: the bytes of the runs.
#include "core/parallel_cpu.h"
#include "masks/rle_area.h"

namespace ldie::masks {

void rle_area(const RleArea& args, Context&) {
  constexpr int64_t kRunsPerTask = 1 << 15;
  const int64_t masks_per_task = kRunsPerTask / (args.runs / (args.count + 1) + 1) + 1;
  parallel_for(args.count, masks_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const RowRange runs = row_range(args.offsets, n, args.runs);
      int64_t area = 0;
      for (int64_t i = runs.begin + 1; i < runs.end; i += 2) area += args.counts[i];
      args.areas[n] = area;
    }
  });
}

}  // namespace ldie::masks
