// SPDX-License-Identifier: Apache-2.0
// Floor: the bytes of the runs; a run costs two divisions.
#include "core/parallel_cpu.h"
#include "masks/rle_to_boxes.h"

namespace ldie::masks {

void rle_to_boxes(const RleToBoxes& args, Context&) {
  constexpr int64_t kRunsPerTask = 1 << 12;
  const int64_t masks_per_task = kRunsPerTask / (args.runs / (args.count + 1) + 1) + 1;
  parallel_for(args.count, masks_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const RowRange runs = row_range(args.offsets, n, args.runs);
      MaskBox box;
      int64_t position = 0;
      for (int64_t i = runs.begin; i < runs.end; ++i) {
        const int64_t start = position;
        position += args.counts[i];
        if ((i - runs.begin) % 2 == 1) box.include_run(start, position, args.height(n));
      }
      args.write(n, box);
    }
  });
}

}  // namespace ldie::masks
