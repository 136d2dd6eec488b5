// SPDX-License-Identifier: Apache-2.0
// Tiles of the maps are read once each, their peaks gathered in shared memory and the tile's k best kept; blocks then
// merge kFanIn lists into one until one is left, whose peaks find their ranks. The floor is the read of the scores; a
// tile of 4096 cells adds at most min(k, 4096) peaks of 16 bytes, written and read once.
#include "core/reduce.cuh"
#include "heatmap/heatmap_peaks.h"

namespace ldie {
namespace {

constexpr int kThreads = 256;
constexpr int kStrip = 16;  // cells of a column that a thread walks down
constexpr int kTileCells = kThreads * kStrip;
constexpr int kFanIn = 32;  // lists that a block merges into one

// Lists of peaks: list i has counts[i] of them from peaks + i * capacity on, in no order.
template <typename A>
struct PeakLists {
  Peak<A>* peaks;
  int64_t* counts;
  int64_t count, capacity;
};

// A plane is cut into tiles of `columns` (a power of two, at most kThreads) by kTileCells / columns cells.
struct Tiling {
  unsigned columns, across, per_plane;
};

// Unsigned integers that order as the scores do; -0 equals +0.
__device__ uint32_t ordered_bits(float score) {
  const uint32_t bits = __float_as_uint(score + 0.f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ uint64_t ordered_bits(double score) {
  const uint64_t bits = uint64_t(__double_as_longlong(score + 0.)), sign = uint64_t(1) << 63;
  return bits & sign ? ~bits : bits | sign;
}

// The largest threshold that `wanted` of the block's items or more reach with their key(i), found bit by bit; its lower
// bits stay 0 once exactly `wanted` reach it. All threads must call.
template <typename Key, typename Items, typename KeyOf>
__device__ Key block_threshold(const Items& items, int64_t wanted, const KeyOf& key) {
  Key threshold = 0;
  for (int bit = 8 * int(sizeof(Key)) - 1; bit >= 0; --bit) {
    const Key candidate = threshold | Key(1) << bit;
    int64_t reached = 0;
    items.visit([&](int64_t i) { reached += key(i) >= candidate; });
    reached = block_sum<kThreads>(reached);
    if (reached >= wanted) threshold = candidate;
    if (reached == wanted) break;
  }
  return threshold;
}

// Calls keep(i) for the `wanted` best of the block's items, `count` in all: by score(i), then by order(i), which
// differs between any two. Items::visit shares the items out to the threads.
template <typename Items, typename Keep>
__device__ void block_select(const Items& items, int64_t count, int64_t wanted, const Keep& keep) {
  using Key = typename Items::Key;
  Key least = 0;
  uint64_t least_order = 0;
  if (count > wanted) {
    least = block_threshold<Key>(items, wanted, [&](int64_t i) { return items.score(i); });
    int64_t above = 0, level = 0;
    items.visit([&](int64_t i) {
      above += items.score(i) > least;
      level += items.score(i) == least;
    });
    above = block_sum<kThreads>(above);
    level = block_sum<kThreads>(level);
    if (above + level > wanted) {
      least_order = block_threshold<uint64_t>(
          items, wanted - above, [&](int64_t i) { return items.score(i) == least ? items.order(i) : uint64_t(0); });
    }
  }
  items.visit([&](int64_t i) {
    if (items.score(i) > least || (items.score(i) == least && items.order(i) >= least_order)) keep(i);
  });
}

template <typename A>
using KeyOf = decltype(ordered_bits(A()));

// The peaks of a tile, in shared memory; `cells` counts through the tile row by row.
template <typename A>
struct TilePeaks {
  using Key = KeyOf<A>;
  const Key* keys;
  const uint16_t* cells;
  int count;

  template <typename Visitor>
  __device__ void visit(const Visitor& visitor) const {
    for (int i = int(threadIdx.x); i < count; i += kThreads) visitor(i);
  }
  __device__ Key score(int64_t i) const { return keys[i]; }
  __device__ uint64_t order(int64_t i) const { return uint64_t(kTileCells - cells[i]); }
};

// The peaks of some lists, a warp to each.
template <typename A>
struct ListedPeaks {
  using Key = KeyOf<A>;
  const Peak<A>* peaks;
  const int64_t* counts;
  int64_t lists, capacity;

  template <typename Visitor>
  __device__ void visit(const Visitor& visitor) const {
    for (int64_t list = threadIdx.x / kWarpSize; list < lists; list += kThreads / kWarpSize) {
      const int64_t first = list * capacity, last = first + counts[list];
      for (int64_t i = first + threadIdx.x % kWarpSize; i < last; i += kWarpSize) visitor(i);
    }
  }
  __device__ Key score(int64_t i) const { return ordered_bits(peaks[i].score); }
  __device__ uint64_t order(int64_t i) const { return ~uint64_t(peaks[i].index); }
};

// One column of the maps: cells outside are -infinity.
template <typename T>
struct Column {
  const T* plane;
  int64_t x, height, width;

  __device__ void load(int64_t y, acc_t<T> (&line)[3]) const {
    const T* const row = plane + y * width + x;
    const bool inside = y >= 0 && y < height && x < width;
    line[0] = inside && x > 0 ? acc_t<T>(row[-1]) : -acc_t<T>(INFINITY);
    line[1] = inside ? acc_t<T>(row[0]) : -acc_t<T>(INFINITY);
    line[2] = inside && x + 1 < width ? acc_t<T>(row[1]) : -acc_t<T>(INFINITY);
  }

  // Bit i is set where cell (top + i, x) is a peak. The loads do not wait for the comparisons.
  __device__ uint32_t peaks(int64_t top) const {
    uint32_t found = 0;
    Window3x3<acc_t<T>> window;
    load(top - 1, window.above);
    load(top, window.here);
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
      load(top + i + 1, window.below);
      found |= uint32_t(window.is_peak()) << i;
#pragma unroll
      for (int j = 0; j < 3; ++j) {
        window.above[j] = window.here[j];
        window.here[j] = window.below[j];
      }
    }
    return found;
  }
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    tile_peaks_kernel(HeatmapPeaks<T> args, Tiling tiling, PeakLists<acc_t<T>> lists) {
  using A = acc_t<T>;
  LDIE_SHARED(KeyOf<A>, keys, [kTileCells]);
  LDIE_SHARED(uint16_t, cells, [kTileCells]);
  LDIE_SHARED(int, count, );
  LDIE_SHARED(int, kept, );
  if (threadIdx.x == 0) count = kept = 0;
  __syncthreads();

  const unsigned plane = blockIdx.x / tiling.per_plane, tile = blockIdx.x % tiling.per_plane;
  const unsigned row = threadIdx.x / tiling.columns * kStrip, column = threadIdx.x % tiling.columns;
  const int64_t left = int64_t(tile % tiling.across) * tiling.columns;
  const int64_t top = int64_t(tile / tiling.across) * (kTileCells / tiling.columns);
  const T* const scores = args.scores + plane * args.area();
  uint32_t found = Column<T>{scores, left + column, args.height, args.width}.peaks(top + row);
  int slot = found ? atomicAdd(&count, __popc(found)) : 0;
  for (; found; found &= found - 1, ++slot) {
    const unsigned i = row + unsigned(__ffs(int(found))) - 1;
    keys[slot] = ordered_bits(A(scores[(top + i) * args.width + left + column]));
    cells[slot] = uint16_t(i * tiling.columns + column);
  }
  __syncthreads();

  const int64_t first_index = args.per_class ? 0 : plane % unsigned(args.classes) * args.area();
  Peak<A>* const best = lists.peaks + blockIdx.x * lists.capacity;
  block_select(TilePeaks<A>{keys, cells, count}, count, args.k, [&](int64_t i) {
    const int64_t cell = (top + cells[i] / tiling.columns) * args.width + left + cells[i] % tiling.columns;
    best[atomicAdd(&kept, 1)] = {A(scores[cell]), first_index + cell};
  });
  __syncthreads();
  if (threadIdx.x == 0) lists.counts[blockIdx.x] = kept;
}

// Every `per_list` lists of `from` belong together; up to kFanIn of them become one of `to`.
template <typename A>
__global__ void __launch_bounds__(kThreads)
    merge_peaks_kernel(PeakLists<A> from, int64_t per_list, PeakLists<A> to, int64_t wanted) {
  LDIE_SHARED(int, kept, );
  if (threadIdx.x == 0) kept = 0;
  const unsigned groups = unsigned((per_list + kFanIn - 1) / kFanIn), group = blockIdx.x % groups;
  const int64_t first = blockIdx.x / groups * per_list + group * kFanIn;
  const int64_t left = per_list - group * kFanIn, lists = left < kFanIn ? left : kFanIn;
  const int64_t* const counts = from.counts + first;
  const int64_t count = block_sum<kThreads>(int64_t(threadIdx.x) < lists ? counts[threadIdx.x] : int64_t(0));

  const Peak<A>* const peaks = from.peaks + first * from.capacity;
  Peak<A>* const best = to.peaks + blockIdx.x * to.capacity;
  block_select(ListedPeaks<A>{peaks, counts, lists, from.capacity}, count, wanted,
               [&](int64_t i) { best[atomicAdd(&kept, 1)] = peaks[i]; });
  __syncthreads();
  if (threadIdx.x == 0) to.counts[blockIdx.x] = kept;
}

// A peak's slot is the number of better ones. Quadratic in k, which is hundreds; slots past the peaks are unused.
template <typename T>
__global__ void __launch_bounds__(kThreads) rank_peaks_kernel(HeatmapPeaks<T> args, PeakLists<acc_t<T>> lists) {
  const int64_t list = blockIdx.x, found = lists.count ? lists.counts[list] : 0;
  const Peak<acc_t<T>>* const peaks = lists.peaks + list * lists.capacity;
  for (int64_t i = int64_t(blockIdx.y) * kThreads + threadIdx.x; i < args.k; i += int64_t(gridDim.y) * kThreads) {
    if (i >= found) {
      args.write_unused(list, i);
      continue;
    }
    int64_t rank = 0;
    for (int64_t j = 0; j < found; ++j) rank += better(peaks[j], peaks[i]);
    args.write(list, rank, peaks[i]);
  }
}

template <typename A>
PeakLists<A> make_lists(Context& context, int64_t count, int64_t capacity) {
  return {context.scratch_array<Peak<A>>(count * capacity), context.scratch_array<int64_t>(count), count, capacity};
}

}  // namespace

template <typename T>
void heatmap_peaks(const HeatmapPeaks<T>& args, Context& context) {
  using A = acc_t<T>;
  Tiling tiling{kWarpSize, 0, 0};
  while (tiling.columns < args.width && tiling.columns < kThreads) tiling.columns *= 2;
  const int64_t rows = kTileCells / tiling.columns;
  tiling.across = unsigned((args.width + tiling.columns - 1) / tiling.columns);
  tiling.per_plane = unsigned(tiling.across * ((args.height + rows - 1) / rows));

  int64_t per_list = args.planes_per_list() * tiling.per_plane;
  PeakLists<A> lists = make_lists<A>(context, args.lists() * per_list, args.k < kTileCells ? args.k : kTileCells);
  LDIE_LAUNCH(tile_peaks_kernel<T>, dim3(unsigned(lists.count)), dim3(kThreads), 0, context.stream, args, tiling,
              lists);
  while (per_list > 1) {
    const int64_t groups = (per_list + kFanIn - 1) / kFanIn, most = lists.capacity * kFanIn;
    const PeakLists<A> merged = make_lists<A>(context, args.lists() * groups, args.k < most ? args.k : most);
    LDIE_LAUNCH(merge_peaks_kernel<A>, dim3(unsigned(merged.count)), dim3(kThreads), 0, context.stream, lists, per_list,
                merged, args.k);
    lists = merged;
    per_list = groups;
  }
  const int64_t blocks = (args.k + kThreads - 1) / kThreads;
  const dim3 grid(unsigned(args.lists()), unsigned(blocks < 65535 ? blocks : 65535));
  LDIE_LAUNCH(rank_peaks_kernel<T>, grid, dim3(kThreads), 0, context.stream, args, lists);
}

template void heatmap_peaks(const HeatmapPeaks<float>&, Context&);
template void heatmap_peaks(const HeatmapPeaks<double>&, Context&);
template void heatmap_peaks(const HeatmapPeaks<Half>&, Context&);
template void heatmap_peaks(const HeatmapPeaks<BFloat16>&, Context&);

}  // namespace ldie
