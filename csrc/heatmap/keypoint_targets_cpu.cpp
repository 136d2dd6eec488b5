// SPDX-License-Identifier: Apache-2.0
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "heatmap/keypoint_targets.h"

namespace ldie::heatmap {

// 12 bytes read and 9 written a keypoint in float32.
template <typename T>
void keypoint_targets(const KeypointTargets<T>& args, Context&) {
  constexpr int64_t kKeypointsPerTask = 1 << 12;
  parallel_for(args.count, kKeypointsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.assign(i);
  });
}

LDIE_INSTANTIATE(keypoint_targets, KeypointTargets);

}  // namespace ldie::heatmap
