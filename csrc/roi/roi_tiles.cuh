// SPDX-License-Identifier: Apache-2.0
// Which RoIs read a tile of a feature map. RoIs are sorted by their map - level and image - so that a tile looks
// through those of its own map only, in their order, which is the order of the sums: results do not change from run to
// run. Memory: 40 bytes a RoI, whatever they cover.
#pragma once

#include "core/device_sort.cuh"
#include "core/grid.cuh"
#include "core/integers.h"
#include "core/reduce.cuh"
#include "roi/roi_align.h"

namespace ldie::roi {

constexpr int kTileThreads = 256;
constexpr int kTileWarps = kTileThreads / kWarpSize;

struct alignas(16) Extent {
  CellRange y, x;
};

// RoIs by map: those of map m are rows[starts[m]] .. rows[starts[m + 1] - 1].
struct RoisByMap {
  const uint32_t* rows;
  const Extent* extents;  // of rows[i]
  const int64_t* starts;
};

template <typename A>
__global__ void __launch_bounds__(kTileThreads) map_keys_kernel(RoiLayout<A> layout, uint32_t* keys, uint32_t* rows) {
  const int64_t step = grid_threads<kTileThreads>();
  for (int64_t row = thread_index<kTileThreads>(); row < layout.rois; row += step) {
    const Roi<A> roi = layout.roi(row);
    const int64_t map = roi.valid() ? roi.level * layout.batch + roi.image : layout.choice.count * layout.batch;
    keys[row] = uint32_t(map);
    rows[row] = uint32_t(row);
  }
}

template <typename A>
__global__ void __launch_bounds__(kTileThreads)
    extents_kernel(RoiLayout<A> layout, const uint32_t* keys, const uint32_t* rows, Extent* extents, int64_t* starts) {
  const int64_t step = grid_threads<kTileThreads>(), maps = layout.choice.count * layout.batch;
  for (int64_t i = thread_index<kTileThreads>(); i < layout.rois; i += step) {
    const Roi<A> roi = layout.roi(rows[i]);
    extents[i] = {};
    if (roi.valid()) extents[i] = {cells_read(roi.y, layout.bins_y), cells_read(roi.x, layout.bins_x)};
    for (int64_t map = i > 0 ? int64_t(keys[i - 1]) + 1 : 0; map <= keys[i]; ++map) starts[map] = i;
    if (i + 1 == layout.rois) {
      for (int64_t map = int64_t(keys[i]) + 1; map <= maps; ++map) starts[map] = layout.rois;
    }
  }
}

inline int bits_for(int64_t largest) {
  int bits = 1;
  while (largest >> bits) ++bits;
  return bits;
}

template <typename A>
RoisByMap sort_by_map(const RoiLayout<A>& layout, Context& context) {
  const int64_t count = layout.rois, maps = layout.choice.count * layout.batch;
  auto* const keys = context.scratch_array<uint32_t>(count);
  auto* const rows = context.scratch_array<uint32_t>(count);
  auto* const sorted_keys = context.scratch_array<uint32_t>(count);
  auto* const sorted_rows = context.scratch_array<uint32_t>(count);
  auto* const extents = context.scratch_array<Extent>(count);
  auto* const starts = context.scratch_array<int64_t>(maps + 1);
  const dim3 grid(loop_blocks(count, kTileThreads)), block(kTileThreads);
  LDIE_LAUNCH(map_keys_kernel<A>, grid, block, 0, context.stream, layout, keys, rows);
  sort_pairs<SortOrder::ascending>(
      context, KeyValueArrays<uint32_t, uint32_t>{keys, sorted_keys, rows, sorted_rows, count}, bits_for(maps));
  LDIE_LAUNCH(extents_kernel<A>, grid, block, 0, context.stream, layout, sorted_keys, sorted_rows, extents, starts);
  return {sorted_rows, extents, starts};
}

// The tiles of all maps, numbered level by level.
struct MapTiles {
  int64_t begin[kMaxLevels + 1];
  int32_t rows[kMaxLevels], columns[kMaxLevels];
  int32_t height, width;  // of a tile
};

template <typename A>
MapTiles map_tiles(const RoiLayout<A>& layout, int32_t height, int32_t width) {
  MapTiles tiles{};
  tiles.height = height;
  tiles.width = width;
  for (int level = 0; level < layout.choice.count; ++level) {
    const RoiLevel<A>& size = layout.levels[level];
    tiles.rows[level] = ceil_div(size.height, height);
    tiles.columns[level] = ceil_div(size.width, width);
    tiles.begin[level + 1] = tiles.begin[level] + layout.batch * tiles.rows[level] * tiles.columns[level];
  }
  return tiles;
}

// One of them.
struct MapTile {
  int32_t level = 0;
  int64_t image;
  int32_t y, x;  // its first cell

  __device__ MapTile(const MapTiles& tiles, int64_t index, int levels) {
    while (level + 1 < levels && index >= tiles.begin[level + 1]) ++level;
    const unsigned place = unsigned(index - tiles.begin[level]);  // fewer than 2^32: each is a store of 512 bytes
    const unsigned columns = unsigned(tiles.columns[level]), rows = unsigned(tiles.rows[level]);
    x = int32_t(place % columns) * tiles.width;
    y = int32_t(place / columns % rows) * tiles.height;
    image = place / columns / rows;
  }

  __device__ bool meets(const Extent& extent, const MapTiles& tiles) const {
    return extent.y.meets({y, y + tiles.height}) && extent.x.meets({x, x + tiles.width});
  }
};

// Lists the rows among sorted RoIs [begin, begin + kTileThreads), before `end`, that meet the tile, in order. All
// threads of the block must call; the count is returned to all.
__device__ __forceinline__ int list_rois(const RoisByMap& rois, int64_t begin, int64_t end, const MapTile& tile,
                                         const MapTiles& tiles, uint32_t* list) {
  LDIE_SHARED(int, counts, [kTileWarps]);
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  const int64_t i = begin + threadIdx.x;
  const bool met = i < end && tile.meets(rois.extents[i], tiles);
  const unsigned votes = __ballot_sync(kFullWarp, met);
  __syncthreads();  // the list and the counts may still be read
  if (lane == 0) counts[warp] = __popc(votes);
  __syncthreads();
  int place = __popc(votes & ((1u << lane) - 1)), total = 0;
  for (int w = 0; w < kTileWarps; ++w) {
    if (w < warp) place += counts[w];
    total += counts[w];
  }
  if (met) list[place] = rois.rows[i];
  __syncthreads();
  return total;
}

}  // namespace ldie::roi
