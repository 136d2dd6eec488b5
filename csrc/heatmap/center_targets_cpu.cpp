// SPDX-License-Identifier: Apache-2.0
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "heatmap/center_targets.h"

namespace ldie::heatmap {

// A slot reads 24 bytes and writes 25 (float): some microseconds for a training batch, so threads only help beyond.
template <typename T>
void center_targets(const CenterTargets<T>& args, Context&) {
  constexpr int64_t kSlotsPerTask = 1 << 14;
  parallel_for(args.batch * args.slots, kSlotsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.fill(i / args.slots, i % args.slots);
  });
}

LDIE_INSTANTIATE(center_targets, CenterTargets);

}  // namespace ldie::heatmap
