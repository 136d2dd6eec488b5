// SPDX-License-Identifier: Apache-2.0
// All levels, images and RoIs in one launch; the backward sorts the RoIs by their map first. Nothing is copied to the
// host. Sums are taken in a fixed order: taps of y, then of x, forward; RoIs in their order, backward.
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "roi/roi_align.h"
#include "roi/roi_backward.cuh"
#include "roi/roi_forward.cuh"

namespace ldie::roi {
namespace {

dim3 grid_of(int64_t x, int64_t y) { return dim3(grid_side(x, kMostBlocksX), grid_side(y)); }

// Whether channels can be taken in packs of this width.
template <typename A, typename T>
bool channels_fit(const RoiLayout<A>& layout, int width, const void* rois, const PerLevel<T>& maps) {
  bool fit = layout.channels % width == 0 && packs_fit({rois});
  for (int level = 0; level < layout.choice.count; ++level) fit = fit && packs_fit({maps[level]});
  return fit;
}

// The kernel makes `block_channels` of a RoI a block.
template <typename T, typename Kernel>
void launch_forward(const char* name, Kernel kernel, const RoiAlign<T>& args, int block_channels, Context& context) {
  const int64_t parts = count_parts(args.layout, block_channels);
  launch(name, kernel, grid_of(args.layout.rois, parts), dim3(kForwardThreads), 0, context.stream, args,
         unsigned(parts), block_channels);
}

// Channels of a block where a channel is a plane. The more they are, the fewer blocks find the same taps; but what
// blocks that run together read - these channels of all maps, where RoIs lie - is to stay in the L2 cache, and blocks
// are to be many. RoIs lie in no order, so that a cache a little too small still serves most of them.
template <typename T>
int plane_channels(const RoiLayout<acc_t<T>>& layout) {
  constexpr int kLeast = 32, kMost = 128;
  constexpr int64_t kCacheBytes = int64_t(48) << 20, kManyBlocks = LDIE_EMULATED ? 1 : 2048;
  int64_t cells = 0;
  for (int level = 0; level < layout.choice.count; ++level) cells += layout.batch * layout.levels[level].cells();
  int channels = kLeast;
  while (channels < kMost && 2 * channels * cells * int64_t(sizeof(T)) <= kCacheBytes &&
         layout.rois * count_parts(layout, 2 * channels) >= kManyBlocks) {
    channels *= 2;
  }
  return channels;
}

template <typename Threads, typename T>
void launch_backward(const RoiAlignBackward<T>& args, const RoisByMap& rois, Context& context) {
  constexpr int32_t kHeight = Threads::kAcrossIsY ? kRegisterCells : Threads::kThreadCells;
  constexpr int32_t kWidth = Threads::kAcrossIsY ? Threads::kThreadCells : kRegisterCells;
  const MapTiles tiles = map_tiles(args.layout, kHeight, kWidth);
  const dim3 grid =
      grid_of(ceil_div(args.layout.channels, Threads::kBlockChannels), tiles.begin[args.layout.choice.count]);
  LDIE_LAUNCH((roi_align_backward_kernel<T, Threads>), grid, dim3(kTileThreads), 0, context.stream, args, rois, tiles);
}

}  // namespace

template <typename T>
void roi_align(const RoiAlign<T>& args, Context& context) {
  constexpr int kWidth = kPackWidth<T>, kPlanes = kMostPlanes<acc_t<T>>;
  const auto& layout = args.layout;
  if (!layout.channels_last && layout.channels < kPlanes) {
    launch_forward("roi_align_planes_kernel", roi_align_planes_kernel<T, 1>, args, plane_channels<T>(layout), context);
  } else if (!layout.channels_last) {
    launch_forward("roi_align_planes_kernel", roi_align_planes_kernel<T, kPlanes>, args, plane_channels<T>(layout),
                   context);
  } else if (channels_fit(layout, kWidth, args.output, args.features)) {
    launch_forward("roi_align_channels_kernel", roi_align_channels_kernel<T, kWidth>, args, kWarpSize * kWidth,
                   context);
  } else {
    launch_forward("roi_align_channels_kernel", roi_align_channels_kernel<T, 1>, args, kWarpSize, context);
  }
}

template <typename T>
void roi_align_backward(const RoiAlignBackward<T>& args, Context& context) {
  constexpr int kWidth = kPackWidth<T> < 4 ? kPackWidth<T> : 4;  // wider packs would take too many registers
  RoisByMap rois{};
  if (args.layout.rois > 0) rois = sort_by_map(args.layout, context);
  if (!args.layout.channels_last) {
    launch_backward<PlaneThreads<T>>(args, rois, context);
  } else if (channels_fit(args.layout, kWidth, args.grad_output, args.grad_features)) {
    launch_backward<ChannelThreads<T, kWidth>>(args, rois, context);
  } else {
    launch_backward<ChannelThreads<T, 1>>(args, rois, context);
  }
}

LDIE_INSTANTIATE(roi_align, RoiAlign);
LDIE_INSTANTIATE(roi_align_backward, RoiAlignBackward);

}  // namespace ldie::roi
