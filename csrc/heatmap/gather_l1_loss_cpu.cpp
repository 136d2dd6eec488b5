// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "heatmap/gather_l1_loss.h"

namespace ldie::heatmap {

namespace {

template <typename T>
L1Sum absolute_error(const GatherL1<T>& args, int64_t slot) {
  if (!args.counts(slot)) return {0, 0};
  const int64_t image = slot / args.slots;
  double sum = 0;
  for (int64_t c = 0; c < args.channels; ++c) sum += double(args.distance(image, slot, c));
  return {sum, 1};
}

}  // namespace

// A valid slot touches one cache line per channel: microseconds for a training batch. Partial sums are of fixed chunks,
// so that the loss does not depend on the number of threads.
template <typename T>
void gather_l1_loss(const GatherL1Loss<T>& args, Context& context) {
  constexpr int64_t kSlotsPerChunk = 1 << 14;
  const int64_t slots = args.inputs.total_slots(), chunks = ceil_div(slots, kSlotsPerChunk);
  L1Sum* const partial = context.scratch_array<L1Sum>(chunks);
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t last = std::min(slots, (chunk + 1) * kSlotsPerChunk);
      L1Sum sum{0, 0};
      for (int64_t slot = chunk * kSlotsPerChunk; slot < last; ++slot) sum = sum + absolute_error(args.inputs, slot);
      partial[chunk] = sum;
    }
  });
  L1Sum total{0, 0};
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total = total + partial[chunk];
  args.finish(total);
}

namespace {

template <typename T>
void scatter(const GatherL1LossBackward<T>& args, int64_t slot) {
  if (!args.inputs.counts(slot)) return;
  const int64_t image = slot / args.inputs.slots, first = image * args.inputs.slots, last = first + args.inputs.slots;
  for (int64_t other = first; other < slot; ++other) {
    if (args.shares_cell(slot, other)) return;
  }
  for (int64_t c = 0; c < args.inputs.channels; ++c) {
    int64_t signs = 0;
    for (int64_t other = slot; other < last; ++other) {
      if (args.shares_cell(slot, other)) signs += args.sign(image, other, c);
    }
    args.write(image, slot, c, signs);
  }
}

}  // namespace

// The floor is a memset of the gradient, or for maps that come zeroed the pages that slots touch.
template <typename T>
void gather_l1_loss_backward(const GatherL1LossBackward<T>& args, Context&) {
  constexpr int64_t kSlotsPerTask = 1 << 12, kElementsPerTask = 1 << 16;
  const GatherL1<T>& inputs = args.inputs;
  if (!args.zeroed) {
    parallel_for(inputs.batch * inputs.channels * inputs.area, kElementsPerTask,
                 [&](int64_t begin, int64_t end) { std::fill(args.grad_maps + begin, args.grad_maps + end, T(0)); });
  }
  parallel_for(args.inputs.total_slots(), kSlotsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) scatter(args, slot);
  });
}

LDIE_INSTANTIATE(gather_l1_loss, GatherL1Loss);
LDIE_INSTANTIATE(gather_l1_loss_backward, GatherL1LossBackward);

}  // namespace ldie::heatmap
