// SPDX-License-Identifier: Apache-2.0
#include "core/reduce.cuh"
#include "heatmap/gather_l1_loss.h"

namespace ldie {
namespace {

constexpr int kLossThreads = 512;
constexpr int kScatterThreads = 128;

// One block: a training batch has some thousand slots, of which a tenth is valid and reads one sector per channel, so
// the launch costs more than the work. The order of the sum is fixed.
template <typename T>
__global__ void __launch_bounds__(kLossThreads) gather_l1_loss_kernel(GatherL1Loss<T> args) {
  L1Sum mine{0, 0};
  const int64_t slots = args.inputs.total_slots();
  for (int64_t slot = threadIdx.x; slot < slots; slot += kLossThreads) mine = mine + absolute_error(args.inputs, slot);
  const L1Sum total{block_sum<kLossThreads>(mine.sum), block_sum<kLossThreads>(mine.slots)};
  if (threadIdx.x == 0) args.finish(total);
}

// One thread a slot; a cell is written by the first slot that names it, so no atomics.
template <typename T>
__global__ void __launch_bounds__(kScatterThreads) gather_l1_loss_backward_kernel(GatherL1LossBackward<T> args) {
  const int64_t slots = args.inputs.total_slots(), step = int64_t(gridDim.x) * kScatterThreads;
  for (int64_t slot = int64_t(blockIdx.x) * kScatterThreads + threadIdx.x; slot < slots; slot += step) {
    args.scatter(slot);
  }
}

}  // namespace

template <typename T>
void gather_l1_loss(const GatherL1Loss<T>& args, Context& context) {
  LDIE_LAUNCH(gather_l1_loss_kernel<T>, dim3(1), dim3(kLossThreads), 0, context.stream, args);
}

template <typename T>
void gather_l1_loss_backward(const GatherL1LossBackward<T>& args, Context& context) {
  const int64_t blocks = (args.inputs.total_slots() + kScatterThreads - 1) / kScatterThreads;
  const dim3 grid(unsigned(blocks < 65535 ? blocks : 65535));
  LDIE_LAUNCH(gather_l1_loss_backward_kernel<T>, grid, dim3(kScatterThreads), 0, context.stream, args);
}

template void gather_l1_loss(const GatherL1Loss<float>&, Context&);
template void gather_l1_loss(const GatherL1Loss<double>&, Context&);
template void gather_l1_loss(const GatherL1Loss<Half>&, Context&);
template void gather_l1_loss(const GatherL1Loss<BFloat16>&, Context&);
template void gather_l1_loss_backward(const GatherL1LossBackward<float>&, Context&);
template void gather_l1_loss_backward(const GatherL1LossBackward<double>&, Context&);
template void gather_l1_loss_backward(const GatherL1LossBackward<Half>&, Context&);
template void gather_l1_loss_backward(const GatherL1LossBackward<BFloat16>&, Context&);

}  // namespace ldie
