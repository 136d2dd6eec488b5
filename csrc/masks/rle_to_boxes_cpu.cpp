// SPDX-License-Identifier: Apache-2.0
// Floor: the bytes of the runs; a run costs two divisions.
#include "core/parallel_cpu.h"
#include "masks/rle_to_boxes.h"
#include "masks/run_set_cpu.h"

namespace ldie::masks {

void rle_to_boxes(const RleToBoxes& args, Context&) {
  constexpr int64_t kRunsPerTask = 1 << 12;
  parallel_for(args.masks.count, masks_per_task(args.masks, kRunsPerTask), [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      MaskBox box;
      for_each_run(args.masks, n, [&](int64_t start, int64_t stop) { box.include_run(start, stop, args.height(n)); });
      args.write(n, box);
    }
  });
}

}  // namespace ldie::masks
