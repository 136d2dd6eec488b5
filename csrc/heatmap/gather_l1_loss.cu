// SPDX-License-Identifier: Apache-2.0
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/pack.cuh"
#include "core/reduce.cuh"
#include "heatmap/gather_l1_loss.h"

namespace ldie::heatmap {
namespace {

constexpr int kLossThreads = 1024;
constexpr int kScatterThreads = 256;
constexpr int64_t kCells = 2048;  // of a block, in each map of its image

// One block: a training batch has some thousand slots, of which a tenth is valid and reads one sector per channel, so
// the launch costs more than the work. What is left is the latency of two loads that wait for each other, so a thread
// has those of kAhead slots in flight. The order of the sum is fixed. 5.5 us for 32 x 128 slots on an H200 (9.3 with
// the slots one by one).
template <typename T>
__global__ void __launch_bounds__(kLossThreads) gather_l1_loss_kernel(GatherL1Loss<T> args) {
  constexpr int kAhead = 4;
  const GatherL1<T>& inputs = args.inputs;
  const int64_t slots = inputs.total_slots();
  L1Sum mine{0, 0};
  for (int64_t first = threadIdx.x; first < slots; first += kAhead * kLossThreads) {
    bool counted[kAhead];
    int64_t image[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t slot = first + i * kLossThreads;
      counted[i] = slot < slots && inputs.counts(slot);
      image[i] = slot / inputs.slots;
      mine.slots += counted[i];
    }
#pragma unroll 2
    for (int64_t c = 0; c < inputs.channels; ++c) {
      acc_t<T> distances[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        distances[i] = counted[i] ? inputs.distance(image[i], first + i * kLossThreads, c) : acc_t<T>(0);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) mine.sum += double(distances[i]);
    }
  }
  const L1Sum total{block_sum<kLossThreads>(mine.sum), block_sum<kLossThreads>(mine.slots)};
  if (threadIdx.x == 0) args.finish(total);
}

// A warp compares a valid slot with the others of its image, 128 at once; a lane then has a channel. A cell is written
// by the first slot that names it, so no atomics.
template <typename T>
__device__ __forceinline__ void scatter(const GatherL1LossBackward<T>& args, int64_t image, int64_t slot, int lane) {
  constexpr int kWords = 4;
  const GatherL1<T>& inputs = args.inputs;
  const int64_t first = image * inputs.slots, last = first + inputs.slots;
  for (int64_t channel = lane; channel - lane < inputs.channels; channel += kWarpSize) {
    int64_t signs = 0;
    for (int64_t base = first; base < last; base += kWords * kWarpSize) {
      unsigned sharing[kWords];
#pragma unroll
      for (int w = 0; w < kWords; ++w) {
        const int64_t other = base + w * kWarpSize + lane;
        sharing[w] = __ballot_sync(kFullWarp, other < last && args.shares_cell(slot, other));
      }
#pragma unroll
      for (int w = 0; w < kWords; ++w) {
        for (; sharing[w]; sharing[w] &= sharing[w] - 1) {
          const int64_t other = base + w * kWarpSize + __ffs(int(sharing[w])) - 1;
          if (other < slot) return;
          if (channel < inputs.channels) signs += args.sign(image, other, channel);
        }
      }
    }
    if (channel < inputs.channels) args.write(image, slot, channel, signs);
  }
}

// A block fills its cells of one image's maps with zeros, then writes those that slots name: the floor is a write of
// the maps. Every block reads its image's slots. 5.8 us on an H200 for 32 x 128 slots of 32 x 2 x 128 x 128 maps (with
// a thread per slot 88, and 3.4 for the zeros).
template <typename T>
__global__ void __launch_bounds__(kScatterThreads, 4) gather_l1_loss_backward_kernel(GatherL1LossBackward<T> args) {
  const GatherL1<T>& inputs = args.inputs;
  const int64_t image = blockIdx.x, first_slot = image * inputs.slots;
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  for (int64_t begin = blockIdx.y * kCells; begin < inputs.area; begin += gridDim.y * kCells) {
    const int64_t end = min(inputs.area, begin + kCells);
    for (int64_t c = 0; c < inputs.channels; ++c) {
      fill_zeros(args.grad_maps + (image * inputs.channels + c) * inputs.area + begin, end - begin, threadIdx.x,
                 kScatterThreads);
    }
    __syncthreads();
    for (int64_t base = warp * kWarpSize; base < inputs.slots; base += kScatterThreads) {
      const int64_t slot = first_slot + base + lane;
      const bool counts = base + lane < inputs.slots && inputs.counts(slot);
      const bool here = counts && begin <= inputs.index[slot] && inputs.index[slot] < end;
      for (unsigned found = __ballot_sync(kFullWarp, here); found; found &= found - 1) {
        scatter(args, image, first_slot + base + __ffs(int(found)) - 1, lane);
      }
    }
  }
}

}  // namespace

template <typename T>
void gather_l1_loss(const GatherL1Loss<T>& args, Context& context) {
  LDIE_LAUNCH(gather_l1_loss_kernel<T>, dim3(1), dim3(kLossThreads), 0, context.stream, args);
}

template <typename T>
void gather_l1_loss_backward(const GatherL1LossBackward<T>& args, Context& context) {
  const int64_t blocks = ceil_div(args.inputs.area, kCells);
  const dim3 grid(unsigned(args.inputs.batch), grid_side(blocks));
  LDIE_LAUNCH(gather_l1_loss_backward_kernel<T>, grid, dim3(kScatterThreads), 0, context.stream, args);
}

LDIE_INSTANTIATE(gather_l1_loss, GatherL1Loss);
LDIE_INSTANTIATE(gather_l1_loss_backward, GatherL1LossBackward);

}  // namespace ldie::heatmap
