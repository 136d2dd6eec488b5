// SPDX-License-Identifier: Apache-2.0
// Few peaks are looked at twice. A list's tiles are cut into groups of cells, at least 4 k of them:
//   best     the best peak of each group
//   bound    the k-th best of these: k peaks or more are as good, so no worse one is among the list's k best
//   collect  the peaks that reach the bound, of the k groups at most that have one; a tile's k best
//   rank     a peak's slot is the number of better ones
// The floor is one read of the scores; what comes after reads k groups again, and of the scores of a random map a tenth
// more peaks than k. For k = 100 of 80 x 128 x 128 scores the launches take 5.4, 10.2, 8.1 and 9.3 us on an H200, of 8
// times as many 26, 10, 19 and 11, where the bytes take 10. (Merging each tile's k best took 112 and 292 us in all.)
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/limits.h"
#include "core/reduce.cuh"
#include "heatmap/heatmap_peaks.h"
#include "heatmap/peak_bound.cuh"

namespace ldie::heatmap {
namespace {

constexpr int kStrip = 16;  // cells of a column that a thread walks down
constexpr int kTileCells = kThreads * kStrip;

// A plane is cut into tiles of `columns` (a power of two, at most kThreads) by kTileCells / columns cells. A group is
// what `group` (a power of two) threads walk through.
struct Tiling {
  unsigned columns, across, per_plane, group;

  LDIE_HD unsigned groups_per_tile() const { return kThreads / group; }
};

// The peaks of a tile, in shared memory; `cells` counts through the tile row by row.
template <typename A>
struct TilePeaks {
  using Key = KeyOf<A>;
  using Order = uint32_t;
  const Key* keys;
  const uint16_t* cells;
  int64_t count;

  __device__ Key key(int64_t i) const { return keys[i]; }
  __device__ Order order(int64_t i) const { return Order(kTileCells - cells[i]); }
};

template <typename A>
struct ListedPeaks {
  using Key = KeyOf<A>;
  using Order = uint64_t;
  const Peak<A>* peaks;
  int64_t count;

  __device__ Key key(int64_t i) const { return ordered_bits(peaks[i].score); }
  __device__ Order order(int64_t i) const { return order_of(peaks[i].index); }
  __device__ bool reaches(const Bound<Key>& bound, int64_t i) const { return bound.reached(key(i), order(i)); }
};

// One column of the maps: cells outside are -infinity.
template <typename T>
struct Column {
  const T* plane;
  int64_t x, height, width;

  __device__ void load(int64_t y, acc_t<T> (&line)[3]) const {
    const T* const row = plane + y * width + x;
    const bool inside = y >= 0 && y < height && x < width;
    line[0] = inside && x > 0 ? acc_t<T>(row[-1]) : -kInfinite<acc_t<T>>;
    line[1] = inside ? acc_t<T>(row[0]) : -kInfinite<acc_t<T>>;
    line[2] = inside && x + 1 < width ? acc_t<T>(row[1]) : -kInfinite<acc_t<T>>;
  }

  // Calls visit(i, score) for the cells (top + i, x) that are peaks. The loads do not wait for the comparisons.
  template <typename Visitor>
  __device__ __forceinline__ void visit_peaks(int64_t top, const Visitor& visit) const {
    Window3x3<acc_t<T>> window;
    load(top - 1, window.above);
    load(top, window.here);
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
      load(top + i + 1, window.below);
      if (window.is_peak()) visit(i, window.here[1]);
#pragma unroll
      for (int j = 0; j < 3; ++j) {
        window.above[j] = window.here[j];
        window.here[j] = window.below[j];
      }
    }
  }
};

// Where block blockIdx.x and its thread stand: in a tile of a plane of a list.
template <typename T>
struct Place {
  const T* scores;  // of the plane
  int64_t first_index, left, top;
  unsigned plane, row, column;

  __device__ Place(const HeatmapPeaks<T>& args, const Tiling& tiling) {
    const unsigned tile = blockIdx.x % tiling.per_plane;
    plane = blockIdx.x / tiling.per_plane;
    row = threadIdx.x / tiling.columns * kStrip;
    column = threadIdx.x % tiling.columns;
    left = int64_t(tile % tiling.across) * tiling.columns;
    top = int64_t(tile / tiling.across) * (kTileCells / tiling.columns);
    scores = args.scores + plane * args.area();
    first_index = args.per_class ? 0 : plane % unsigned(args.classes) * args.area();
  }
  __device__ Column<T> walk(const HeatmapPeaks<T>& args) const {
    return {scores, left + column, args.height, args.width};
  }
};

// A block a tile; groups without a peak get an index of -1.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    best_kernel(HeatmapPeaks<T> args, Tiling tiling, Peak<acc_t<T>>* best_of_group) {
  using A = acc_t<T>;
  LDIE_SHARED(Peak<A>, of_warp, [kWarps]);
  const Place<T> place(args, tiling);
  A score = -kInfinite<A>;
  int at = -1;
  place.walk(args).visit_peaks(place.top + place.row, [&](int i, A value) {
    if (value > score) score = value, at = i;
  });
  const int64_t cell = (place.top + place.row + at) * args.width + place.left + place.column;
  Peak<A> best{score, at < 0 ? -1 : place.first_index + cell};
  for (unsigned distance = 1; distance < tiling.group && distance < kWarpSize; distance *= 2) {
    const Peak<A> other{__shfl_xor_sync(kFullWarp, best.score, distance),
                        __shfl_xor_sync(kFullWarp, best.index, distance)};
    if (better(other, best)) best = other;
  }
  if (tiling.group > kWarpSize) {
    const unsigned warp = threadIdx.x / kWarpSize, warps = tiling.group / kWarpSize;
    if (threadIdx.x % kWarpSize == 0) of_warp[warp] = best;
    __syncthreads();
    for (unsigned w = 1; threadIdx.x % tiling.group == 0 && w < warps; ++w) {
      if (better(of_warp[warp + w], best)) best = of_warp[warp + w];
    }
  }
  if (threadIdx.x % tiling.group == 0) {
    best_of_group[int64_t(blockIdx.x) * tiling.groups_per_tile() + threadIdx.x / tiling.group] = best;
  }
}

// A block a list.
template <typename A>
__global__ void __launch_bounds__(kThreads) bound_kernel(const Peak<A>* best_of_group, int64_t groups, int64_t wanted,
                                                         Bound<KeyOf<A>>* bounds, unsigned long long* found) {
  LDIE_SHARED(int, counts, [2][kWarps]);
  BlockCounter count{counts};
  const auto bound = bound_of(ListedPeaks<A>{best_of_group + blockIdx.x * groups, groups}, wanted, count);
  if (threadIdx.x == 0) {
    bounds[blockIdx.x] = bound;
    found[blockIdx.x] = 0;
  }
}

// Peaks of a list, `found` of them, in no order.
template <typename A>
struct Candidates {
  Bound<KeyOf<A>>* bounds;
  unsigned long long* found;
  Peak<A>* peaks;  // [lists, capacity]
  int64_t capacity;
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    collect_kernel(HeatmapPeaks<T> args, Tiling tiling, const Peak<acc_t<T>>* best_of_group,
                   Candidates<acc_t<T>> candidates) {
  using A = acc_t<T>;
  LDIE_SHARED(KeyOf<A>, keys, [kTileCells]);
  LDIE_SHARED(uint16_t, cells, [kTileCells]);
  LDIE_SHARED(int, counts, [2][kWarps]);
  LDIE_SHARED(int, in_tile, );
  LDIE_SHARED(int, kept, );
  LDIE_SHARED(int64_t, first_slot, );
  const Place<T> place(args, tiling);
  const int64_t list = place.plane / args.planes_per_list();
  const Bound<KeyOf<A>> bound = candidates.bounds[list];
  const unsigned groups = tiling.groups_per_tile();
  const ListedPeaks<A> best{best_of_group + int64_t(blockIdx.x) * groups, groups};
  const auto takes_part = [&](int64_t i) { return best.peaks[i].index >= 0 && best.reaches(bound, i); };
  BlockCounter count{counts};
  if (threadIdx.x == 0) in_tile = kept = 0;
  if (count(best, takes_part) == 0) return;

  if (takes_part(threadIdx.x / tiling.group)) {
    place.walk(args).visit_peaks(place.top + place.row, [&](int i, A score) {
      const unsigned y = place.row + unsigned(i);
      const int64_t cell = (place.top + y) * args.width + place.left + place.column;
      const KeyOf<A> key = ordered_bits(score);
      if (!bound.reached(key, order_of(place.first_index + cell))) return;
      const int slot = atomicAdd(&in_tile, 1);
      keys[slot] = key;
      cells[slot] = uint16_t(y * tiling.columns + place.column);
    });
  }
  __syncthreads();
  const TilePeaks<A> peaks{keys, cells, in_tile};
  const auto least = bound_of(peaks, args.k, count);
  if (threadIdx.x == 0) {
    const int64_t taken = peaks.count < args.k ? peaks.count : args.k;
    first_slot = int64_t(atomicAdd(&candidates.found[list], (unsigned long long)(taken)));
  }
  __syncthreads();
  Peak<A>* const to = candidates.peaks + list * candidates.capacity + first_slot;
  for (int i = int(threadIdx.x); i < peaks.count; i += kThreads) {
    if (!least.reached(peaks.key(i), peaks.order(i))) continue;
    const int64_t y = place.top + cells[i] / tiling.columns, x = place.left + cells[i] % tiling.columns;
    const int64_t cell = y * args.width + x;
    to[atomicAdd(&kept, 1)] = {A(place.scores[cell]), place.first_index + cell};
  }
}

// A row of blocks a list. Quadratic in the candidates, which are hardly more than k; were they many, only the k best
// are compared. Slots past the peaks are unused.
template <typename T>
__global__ void __launch_bounds__(kThreads, 4) rank_kernel(HeatmapPeaks<T> args, Candidates<acc_t<T>> candidates) {
  using A = acc_t<T>;
  constexpr int64_t kManyCandidates = 1024;
  LDIE_SHARED(Peak<A>, others, [kThreads]);
  LDIE_SHARED(int, counts, [2][kWarps]);
  LDIE_SHARED(int, listed, );
  const int64_t list = blockIdx.x, first = int64_t(blockIdx.y) * kThreads, step = int64_t(gridDim.y) * kThreads;
  const ListedPeaks<A> all{candidates.peaks + list * candidates.capacity, int64_t(candidates.found[list])};
  for (int64_t i = first + threadIdx.x; i < args.k; i += step) {
    if (i >= all.count) args.write_unused(list, i);
  }
  if (first >= all.count) return;
  BlockCounter count{counts};
  const auto least = bound_of(all, all.count > kManyCandidates ? args.k : all.count, count);
  for (int64_t base = first; base < all.count; base += step) {
    const int64_t i = base + threadIdx.x;
    const bool ranked = i < all.count && all.reaches(least, i);
    const Peak<A> mine = ranked ? all.peaks[i] : Peak<A>{};
    int64_t rank = 0;
    for (int64_t start = 0; start < all.count; start += kThreads) {
      const int64_t j = start + threadIdx.x;
      if (threadIdx.x == 0) listed = 0;
      __syncthreads();
      if (j < all.count && all.reaches(least, j)) others[atomicAdd(&listed, 1)] = all.peaks[j];
      __syncthreads();
      for (int other = 0; ranked && other < listed; ++other) rank += better(others[other], mine);
      __syncthreads();
    }
    if (ranked && rank < args.k) args.write(list, rank, mine);
  }
}

}  // namespace

template <typename T>
void heatmap_peaks(const HeatmapPeaks<T>& args, Context& context) {
  using A = acc_t<T>;
  Tiling tiling{kWarpSize, 0, 0, kThreads};
  while (tiling.columns < args.width && tiling.columns < kThreads) tiling.columns *= 2;
  const int64_t rows = kTileCells / tiling.columns, lists = args.lists();
  tiling.across = unsigned(ceil_div(args.width, tiling.columns));
  tiling.per_plane = unsigned(tiling.across * (ceil_div(args.height, rows)));
  const int64_t tiles = args.planes_per_list() * tiling.per_plane;  // of a list
  while (tiling.group > 1 && tiles * tiling.groups_per_tile() < 4 * args.k) tiling.group /= 2;

  const int64_t groups = tiles * tiling.groups_per_tile();
  auto* const best_of_group = context.scratch_array<Peak<A>>(lists * groups);
  Candidates<A> candidates;
  candidates.bounds = context.scratch_array<Bound<KeyOf<A>>>(lists);
  candidates.found = context.scratch_array<unsigned long long>(lists);
  candidates.capacity = (tiles < args.k ? tiles : args.k) * (kTileCells < args.k ? kTileCells : args.k);
  candidates.peaks = context.scratch_array<Peak<A>>(lists * candidates.capacity);

  const dim3 block(kThreads), of_tiles(unsigned(lists * tiles));
  LDIE_LAUNCH(best_kernel<T>, of_tiles, block, 0, context.stream, args, tiling, best_of_group);
  LDIE_LAUNCH(bound_kernel<A>, dim3(unsigned(lists)), block, 0, context.stream, best_of_group, groups, args.k,
              candidates.bounds, candidates.found);
  LDIE_LAUNCH(collect_kernel<T>, of_tiles, block, 0, context.stream, args, tiling, best_of_group, candidates);
  constexpr int64_t kLeastRanked = 1024;
  const int64_t ranked = args.k > kLeastRanked ? args.k : kLeastRanked;
  const dim3 grid(unsigned(lists), grid_blocks(ranked, kThreads));
  LDIE_LAUNCH(rank_kernel<T>, grid, block, 0, context.stream, args, candidates);
}

LDIE_INSTANTIATE(heatmap_peaks, HeatmapPeaks);

}  // namespace ldie::heatmap
