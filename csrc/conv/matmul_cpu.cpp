// SPDX-License-Identifier: Apache-2.0
// 2 M N K operations, of which a core does four to an element of a register and cycle: at 3.7 GHz 237 GFLOP/s with
// AVX-512 and 118 with AVX2 are the ceiling. The BLAS of PyTorch has no AVX-512 for AMD's processors, where it reaches
// the latter at most (the row of deform_conv2d with 256 filters, and sgemm's rate beside it in RESULTS.md).
//
// A task makes one tile of an output, so results do not depend on the threads. It packs a block of b into panels, whose
// rows are two registers wide and follow each other in memory, and multiplies each with kRows rows of a at a time.
// Those are read where they are: one element serves two registers, and a block of a stays in the second-level cache.
#include <algorithm>
#include <cstring>

#include "conv/matmul.h"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/lanes_cpu.h"
#include "core/parallel_cpu.h"

namespace ldie::conv {
namespace {

constexpr int64_t kRows = kLaneBytes == 64 ? 8 : 6;  // with two registers each: sums for 12 to 16 registers of 16 or 32
constexpr int64_t kTileRows = 256, kTileColumns = 128, kDepth = 256;  // at most: a block of a tile's steps along K
template <typename T>
constexpr int64_t kPanel = 2 * kLanes<T>;

// Part of the steps of a tile, for one panel of its columns.
template <typename T>
struct PanelProduct {
  const T* a;
  int64_t a_row, a_column;  // strides
  const T* panel;           // [depth, kPanel], zeros beyond `columns`
  int64_t depth;
  T* out;
  int64_t out_row, columns;
  bool add;
};

template <typename T>
inline __attribute__((always_inline)) void store_sums(T* out, Lanes<T> sums, int64_t count, bool add) {
  if (count >= kLanes<T>) return store_lanes(out, add ? load_lanes(out) + sums : sums, kLanes<T>);
  for (int64_t lane = 0; lane < count; ++lane) out[lane] = add ? out[lane] + sums[lane] : sums[lane];
}

// Rows [first, first + kCount).
template <int64_t kCount, typename T>
__attribute__((noinline)) void multiply_rows(const PanelProduct<T>& p, int64_t first) {
  Lanes<T> left[kCount] = {}, right[kCount] = {};
  const T *a = p.a + first * p.a_row, *panel = p.panel;
  for (int64_t k = 0; k < p.depth; ++k, a += p.a_column, panel += kPanel<T>) {
    const Lanes<T> b_left = load_lanes(panel), b_right = load_lanes(panel + kLanes<T>);
#pragma GCC unroll 8
    for (int64_t row = 0; row < kCount; ++row) {
      const Lanes<T> value = all_lanes(a[row * p.a_row]);
      left[row] = mul_add(value, b_left, left[row]);
      right[row] = mul_add(value, b_right, right[row]);
    }
  }
#pragma GCC unroll 8
  for (int64_t row = 0; row < kCount; ++row) {
    T* const out = p.out + (first + row) * p.out_row;
    store_sums(out, left[row], p.columns, p.add);
    store_sums(out + kLanes<T>, right[row], p.columns - kLanes<T>, p.add);
  }
}

// The last rows of a tile, fewer than kCount + 1.
template <int64_t kCount, typename T>
void multiply_last_rows(const PanelProduct<T>& p, int64_t first, int64_t count) {
  if constexpr (kCount > 0) {
    if (count == kCount) return multiply_rows<kCount>(p, first);
    multiply_last_rows<kCount - 1>(p, first, count);
  }
}

template <typename T>
void multiply_panel(const PanelProduct<T>& p, int64_t rows) {
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) multiply_rows<kRows>(p, row);
  multiply_last_rows<kRows - 1>(p, row, rows - row);
}

// Up to kPanel columns of `depth` rows.
template <typename T>
void pack_panel(const T* b, int64_t row_stride, int64_t depth, int64_t columns, T* panel) {
  for (int64_t k = 0; k < depth; ++k, b += row_stride, panel += kPanel<T>) {
    if (columns >= kPanel<T>) {
      std::memcpy(panel, b, kPanel<T> * sizeof(T));
    } else {
      std::memset(panel, 0, kPanel<T> * sizeof(T));
      std::memcpy(panel, b, size_t(columns) * sizeof(T));
    }
  }
}

// One side of an output in tiles of nearly the same size.
struct Tiling {
  int64_t size, tiles;

  Tiling(int64_t side, int64_t most, int64_t multiple)
      : size(round_up(ceil_div(side, std::max<int64_t>(1, ceil_div(side, most))), multiple)),
        tiles(size ? ceil_div(side, size) : 0) {}
};

// The tiles of all outputs, numbered row by row.
struct Tiles {
  Tiling down, across;
  int64_t batch;

  template <typename T>
  explicit Tiles(const MatrixProducts<T>& args)
      : down(args.rows, kTileRows, kRows), across(args.columns, kTileColumns, kPanel<T>), batch(args.batch) {}
  int64_t count() const { return batch * down.tiles * across.tiles; }
};

template <typename T>
void multiply_tile(const MatrixProducts<T>& args, const Tiles& tiles, int64_t tile, T* packed) {
  const Tiling &down = tiles.down, &across = tiles.across;
  const int64_t matrix = tile / (down.tiles * across.tiles);
  const int64_t row = tile / across.tiles % down.tiles * down.size, column = tile % across.tiles * across.size;
  const int64_t rows = std::min(down.size, args.rows - row);
  const int64_t columns = std::min(across.size, args.columns - column);
  const T* const a = args.a.data + matrix * args.a.batch_stride + row * args.a.row_stride;
  const T* const b = args.b.data + matrix * args.b.batch_stride + column;
  T* const out = args.out.data + matrix * args.out.batch_stride + row * args.out.row_stride + column;
  for (int64_t k = 0; k == 0 || k < args.depth; k += kDepth) {
    const int64_t depth = std::min(kDepth, args.depth - k);
    for (int64_t first = 0; first < columns; first += kPanel<T>) {
      pack_panel(b + k * args.b.row_stride + first, args.b.row_stride, depth, columns - first, packed);
      multiply_panel(PanelProduct<T>{.a = a + k * args.a.column_stride,
                                     .a_row = args.a.row_stride,
                                     .a_column = args.a.column_stride,
                                     .panel = packed,
                                     .depth = depth,
                                     .out = out + first,
                                     .out_row = args.out.row_stride,
                                     .columns = columns - first,
                                     .add = args.add || k > 0},
                     rows);
    }
  }
}

}  // namespace

template <typename T>
void multiply_matrices(const MatrixProducts<T>& args, Context& context) {
  const Tiles tiles(args);
  constexpr int64_t kPacked = kDepth * kPanel<T>;
  const int64_t workers = std::min(num_threads(), tiles.count());
  T* const packed = context.scratch_array<T>(workers * kPacked);
  parallel_workers(workers, [&](const auto& next, int64_t worker) {
    T* const own = packed + worker * kPacked;
    for (int64_t tile = next(); tile < tiles.count(); tile = next()) multiply_tile(args, tiles, tile, own);
  });
}

LDIE_INSTANTIATE_WIDE(multiply_matrices, MatrixProducts);

}  // namespace ldie::conv
