// SPDX-License-Identifier: Apache-2.0
// A block has a slot's map, some of its rows and kThreads of its columns at a time: a thread walks down a column, so
// that along the rows each of the logits is upsampled once, and in registers.
#include <algorithm>

#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/pack.cuh"
#include "core/reduce.cuh"
#include "losses/dice.cuh"
#include "losses/gather_upsample_dice.h"
#include "losses/upsampled_column.cuh"

namespace ldie::losses {
namespace {

constexpr int kThreads = 128;
constexpr int kSampleRows = 16;  // of a block forward, and at a time backward
constexpr int kSourceRows = 8;   // of a block backward

// Reads the logits of the slots and their targets, 4 + 4 / 8 bytes for each 4 pixels of a map upsampled twofold, and
// computes some 45 flops a pixel, which are the floor: for 60 maps of 200 x 336 3 us of an H200's 67 Tflop/s.
template <typename T, typename Targets>
__global__ void __launch_bounds__(kThreads)
    sums_kernel(UpsampledDice<T> maps, Targets targets, int64_t bands, int64_t parts, DiceSums* sums) {
  using A = acc_t<T>;
  LDIE_SHARED(UpsampleTap<A>, taps, [kSampleRows]);
  for (int64_t task = blockIdx.x; task < maps.slots.count * parts; task += gridDim.x) {
    const int64_t slot = task / parts, part = task % parts;
    const int64_t begin = part % bands * kSampleRows, end = min(begin + kSampleRows, maps.vertical.out);
    const int64_t x = part / bands * kThreads + threadIdx.x, target = maps.slots.row(slot);
    const bool in_use = maps.slots(slot) && x < maps.horizontal.out;
    load_taps(maps.vertical, begin, end, taps);
    A pt = A(0), pp = A(0), tt = A(0);
    if (in_use) {
      Column<T> column(maps, maps.slots.cell(slot), x);
      for (int64_t y = begin; y < end; ++y) {
        const A v = column.at(taps[y - begin]), t = A(targets.at(target, y, x));
        const A p = maps.sigmoid_first ? v : logistic(v, exp_minus_abs(v)).p;
        pt += p * t;
        pp += p * p;
        tt += t * t;
      }
    }
    store_dice_sums<kThreads>(sums + task, pt, pp, tt);
  }
}

// The next slot after one that names the cell, or the number of slots. All threads of the block must call.
__device__ int64_t next_of_cell(const DiceSlots& slots, int64_t cell, int64_t after) {
  int64_t found = slots.count;
  for (int64_t slot = after + 1 + threadIdx.x; slot < found; slot += kThreads) {
    if (slots(slot) && slots.cell(slot) == cell) found = slot;
  }
  return block_reduce<kThreads>(found, slots.count, Minimum());
}

// Rows [top, bottom) and columns [left, right) of a cell's logits, at most kSourceRows x kThreads of them.
struct SourceTile {
  int64_t top, bottom, left, right;
};

// Tiles of as many columns as kThreads samples have for the most part.
struct SourceTiles {
  int64_t rows, columns, width;  // of the map in tiles, and of a tile

  explicit SourceTiles(const UpsampleAxis& vertical, const UpsampleAxis& horizontal) {
    const int64_t fitting = std::max<int64_t>(1, (kThreads - 2) * horizontal.in / horizontal.out - 1);
    rows = ceil_div(vertical.in, kSourceRows);
    columns = ceil_div(horizontal.in, fitting);
    width = ceil_div(horizontal.in, columns);
  }

  __device__ SourceTile tile(int64_t index, int64_t map_height, int64_t map_width) const {
    const int64_t top = index / columns * kSourceRows, left = index % columns * width;
    return {top, min(top + kSourceRows, map_height), left, min(left + width, map_width)};
  }
};

// What a block keeps of kThreads columns of samples.
template <typename A>
struct ColumnSums {
  A between[kSourceRows][kThreads];  // the slopes' sums for each row of logits, not yet along it
  UpsampleTap<A> taps[kThreads];
};

// The sums of the slopes in a column's samples for each row of a tile, in the order of the samples.
template <typename A>
class RowSums {
 public:
  __device__ RowSums(const SourceTile& tile, ColumnSums<A>& sums) : tile_(tile), sums_(sums), open_(tile.top - 1) {}

  __device__ void add(const UpsampleTap<A>& tap, A slope) {
    close(tap.first);
    upper_ += tap.low * slope;
    lower_ += tap.high * slope;
  }
  // Rows before `row` get no more.
  __device__ void close(int64_t row) {
    for (; open_ < row; ++open_) {
      if (open_ >= tile_.top) sums_.between[open_ - tile_.top][threadIdx.x] = upper_;
      upper_ = lower_;
      lower_ = A(0);
    }
  }

 private:
  const SourceTile& tile_;
  ColumnSums<A>& sums_;
  int64_t open_;
  A upper_ = A(0), lower_ = A(0);  // of rows open_ and open_ + 1
};

// Sample columns x, one a thread as far as x < end. All threads of the block must call.
template <typename T, typename Targets>
__device__ void sum_down(const GatherUpsampleDiceBackward<T>& args, const Targets& targets, int64_t slot,
                         const DiceSlope<acc_t<T>>& slope, const SourceTile& tile, int64_t x, int64_t end,
                         ColumnSums<acc_t<T>>& sums) {
  using A = acc_t<T>;
  LDIE_SHARED(UpsampleTap<A>, taps, [kSampleRows]);
  const UpsampledDice<T>& maps = args.maps;
  const int64_t target = maps.slots.row(slot), last = maps.vertical.first_sample(tile.bottom);
  Column<T> column(maps, maps.slots.cell(slot), min(x, end - 1));
  RowSums<A> rows(tile, sums);
  for (int64_t begin = maps.vertical.first_sample(tile.top - 1); begin < last; begin += kSampleRows) {
    const int64_t behind = min(begin + kSampleRows, last);
    load_taps(maps.vertical, begin, behind, taps);
    if (x >= end) continue;
    for (int64_t y = begin; y < behind; ++y) {
      const UpsampleTap<A>& tap = taps[y - begin];
      const A v = column.at(tap), t = A(targets.at(target, y, x));
      rows.add(tap, maps.sigmoid_first ? slope.of_probability(v, t) : slope.of_logit(v, t, exp_minus_abs(v)));
    }
  }
  rows.close(tile.top + kSourceRows);  // a tile at the lower border has fewer; the others are 0
  sums.taps[threadIdx.x] = column.tap();
}

// The gradient of a slot's loss in a column of a tile of its logits, one a thread, is added to `gradient`.
template <typename T, typename Targets>
__device__ void add_slot(const GatherUpsampleDiceBackward<T>& args, const Targets& targets, int64_t slot,
                         const SourceTile& tile, ColumnSums<acc_t<T>>& sums, acc_t<T> (&gradient)[kSourceRows]) {
  using A = acc_t<T>;
  const UpsampledDice<T>& maps = args.maps;
  const DiceSlope<A> slope = args.slope(slot);
  const int64_t end = maps.horizontal.first_sample(tile.right), column = tile.left + threadIdx.x;
  const int64_t first = maps.horizontal.first_sample(column - 1), behind = maps.horizontal.first_sample(column + 1);
  A along[kSourceRows] = {};
  for (int64_t x = maps.horizontal.first_sample(tile.left - 1); x < end; x += kThreads) {
    sum_down(args, targets, slot, slope, tile, x + threadIdx.x, end, sums);
    __syncthreads();
    for (int64_t sample = max(first, x); column < tile.right && sample < min(behind, x + kThreads); ++sample) {
      const A share = sums.taps[sample - x].share(column);
#pragma unroll
      for (int r = 0; r < kSourceRows; ++r) along[r] += share * sums.between[r][sample - x];
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < kSourceRows; ++r) {
    if (maps.sigmoid_first && column < tile.right && tile.top + r < tile.bottom) {
      const A x = A(maps.logits.row(maps.slots.cell(slot), tile.top + r)[column * maps.logits.stride_x]);
      const Logistic<A> s = logistic(x, exp_minus_abs(x));
      along[r] *= s.p * s.q;
    }
    gradient[r] += along[r];
  }
}

// The same reads, some 60 flops for each pixel of a map and an eighth more at the tiles' borders, 5 us, and a write of
// the named rows' gradient. The first slot of a cell has the sum over all that name it, and the others nothing to do.
template <typename T, typename Targets>
__global__ void __launch_bounds__(kThreads)
    gradient_kernel(GatherUpsampleDiceBackward<T> args, Targets targets, SourceTiles tiles) {
  using A = acc_t<T>;
  LDIE_SHARED(ColumnSums<A>, sums, );
  const UpsampledDice<T>& maps = args.maps;
  const int64_t parts = tiles.rows * tiles.columns;
  for (int64_t task = blockIdx.x; task < maps.slots.count * parts; task += gridDim.x) {
    int64_t slot = task / parts;
    if (!maps.slots(slot)) continue;
    const int64_t cell = maps.slots.cell(slot);
    if (next_of_cell(maps.slots, cell, -1) != slot) continue;
    const SourceTile tile = tiles.tile(task % parts, maps.height(), maps.width());
    A gradient[kSourceRows] = {};
    for (; slot < maps.slots.count; slot = next_of_cell(maps.slots, cell, slot)) {
      add_slot(args, targets, slot, tile, sums, gradient);
    }
    const int64_t column = tile.left + threadIdx.x;
#pragma unroll
    for (int r = 0; r < kSourceRows; ++r) {
      if (column < tile.right && tile.top + r < tile.bottom) {
        args.grad_logits[(cell * maps.height() + tile.top + r) * maps.width() + column] = T(gradient[r]);
      }
    }
  }
}

// A write of the gradient, 4 bytes an element in float32.
template <typename T>
__global__ void __launch_bounds__(kThreads) clear_kernel(T* gradient, int64_t count) {
  fill_zeros(gradient, count, thread_index<kThreads>(), grid_threads<kThreads>());
}

unsigned blocks_of(int64_t tasks) { return grid_side(tasks, kMostBlocksX); }

}  // namespace

template <typename T>
void gather_upsample_dice(const GatherUpsampleDice<T>& args, Context& context) {
  const UpsampledDice<T>& maps = args.maps;
  const int64_t bands = ceil_div(maps.vertical.out, kSampleRows);
  const int64_t parts = bands * ceil_div(maps.horizontal.out, kThreads);
  DiceSums* const sums = context.scratch_array<DiceSums>(maps.slots.count * parts);
  with_targets(maps, [&]<typename Targets>(const Targets& targets) {
    LDIE_LAUNCH((sums_kernel<T, Targets>), dim3(blocks_of(maps.slots.count * parts)), dim3(kThreads), 0, context.stream,
                maps, targets, bands, parts, sums);
  });
  finish_dice(args.rows, maps.slots, parts, sums, args.scale, context);
}

template <typename T>
void gather_upsample_dice_backward(const GatherUpsampleDiceBackward<T>& args, Context& context) {
  const UpsampledDice<T>& maps = args.maps;
  const SourceTiles tiles(maps.vertical, maps.horizontal);
  const int64_t elements = maps.slots.cell_count * maps.height() * maps.width();
  LDIE_LAUNCH(clear_kernel<T>, dim3(loop_blocks(elements, kThreads)), dim3(kThreads), 0, context.stream,
              args.grad_logits, elements);
  with_targets(maps, [&]<typename Targets>(const Targets& targets) {
    LDIE_LAUNCH((gradient_kernel<T, Targets>), dim3(blocks_of(maps.slots.count * tiles.rows * tiles.columns)),
                dim3(kThreads), 0, context.stream, args, targets, tiles);
  });
}

LDIE_INSTANTIATE(gather_upsample_dice, GatherUpsampleDice);
LDIE_INSTANTIATE(gather_upsample_dice_backward, GatherUpsampleDiceBackward);

}  // namespace ldie::losses
