// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "boxes/box_iou.h"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"

namespace ldie::boxes {
namespace {

constexpr int64_t kWidth = 16;  // columns that are computed together
constexpr int64_t kTileRows = 64, kTileColumns = 256;

int64_t tiles(int64_t count, int64_t tile) { return ceil_div(count, tile); }

// The boxes of the columns, value by value, so that loops over them vectorise. The last one also fills the last kWidth.
template <typename A>
class Columns {
 public:
  template <typename T>
  Columns(const T* boxes, int64_t count, BoxIouKind kind, Context& context) : stride_(tiles(count, kWidth) * kWidth) {
    values_ = context.scratch_array<A>(6 * stride_);
    for (int64_t j = 0; j < stride_; ++j) {
      const PairBox<A> column(load_box(boxes, std::min(j, count - 1)), kind);
      const A values[] = {column.box.x1, column.box.y1, column.box.x2, column.box.y2, column.area, column.angle};
      for (int k = 0; k < 6; ++k) values_[k * stride_ + j] = values[k];
    }
  }

  PairBox<A> operator[](int64_t j) const {
    const A* const v = values_ + j;
    PairBox<A> column;
    column.box = {v[0], v[stride_], v[2 * stride_], v[3 * stride_]};
    column.area = v[4 * stride_];
    column.angle = v[5 * stride_];
    return column;
  }

 private:
  int64_t stride_;
  A* values_;
};

struct TileRange {
  int64_t row, rows, column, columns, row_tile, column_tile;
};

// Calls body(range) for all tiles of the matrix, over threads.
template <typename Body>
void for_each_tile(int64_t rows, int64_t columns, const Body& body) {
  constexpr int64_t kTilesPerTask = 4;  // fewer are done before another thread wakes up
  const int64_t across = tiles(columns, kTileColumns);
  parallel_for(tiles(rows, kTileRows) * across, kTilesPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t row_tile = tile / across, column_tile = tile % across;
      const int64_t row = row_tile * kTileRows, column = column_tile * kTileColumns;
      body(TileRange{row, std::min(kTileRows, rows - row), column, std::min(kTileColumns, columns - column), row_tile,
                     column_tile});
    }
  });
}

// Sums of gradients, value by value, so that loops over boxes vectorise.
template <typename A, int64_t kCount>
struct GradientSums {
  A x1[kCount] = {}, y1[kCount] = {}, x2[kCount] = {}, y2[kCount] = {}, area[kCount] = {}, angle[kCount] = {};

  void add(int64_t i, const BoxGradient<A>& gradient) {
    x1[i] += gradient.x1;
    y1[i] += gradient.y1;
    x2[i] += gradient.x2;
    y2[i] += gradient.y2;
    area[i] += gradient.area;
    angle[i] += gradient.angle;
  }
  BoxGradient<A> operator[](int64_t i) const { return {x1[i], y1[i], x2[i], y2[i], area[i], angle[i]}; }
};

// The sums over tiles, in an order that does not depend on the number of threads.
template <typename A>
struct PartialGradients {
  int64_t tiles;
  BoxGradient<A>* values;  // [boxes, tiles]

  PartialGradients(int64_t boxes, int64_t tiles, Context& context)
      : tiles(tiles), values(context.scratch_array<BoxGradient<A>>(boxes * tiles)) {}

  template <typename T>
  void finish(const T* boxes, int64_t count, T* grad) const {
    parallel_for(count, 1024, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        BoxGradient<A> sum = values[i * tiles];
        for (int64_t tile = 1; tile < tiles; ++tile) sum += values[i * tiles + tile];
        const Box<A> result = sum.of_coordinates(load_box(boxes, i));
        const A coordinates[] = {result.x1, result.y1, result.x2, result.y2};
        for (int k = 0; k < 4; ++k) grad[4 * i + k] = T(coordinates[k]);
      }
    });
  }
};

template <BoxIouKind kKind, typename T>
void backward_tile(const BoxIouBackward<T>& args, const Columns<acc_t<T>>& columns, const TileRange& tile,
                   const PartialGradients<acc_t<T>>& of_a, const PartialGradients<acc_t<T>>& of_b) {
  using A = acc_t<T>;
  GradientSums<A, kTileColumns> column_sums;
  A grad[kTileColumns] = {};
  for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
    const PairBox<A> row(load_box(args.a, i), kKind);
    std::copy_n(args.grad + i * args.b_count + tile.column, tile.columns, grad);
    GradientSums<A, kWidth> lanes;
    for (int64_t j = 0; j < tile.columns; j += kWidth) {
      for (int64_t lane = 0; lane < kWidth; ++lane) {
        const PairGradient<A> pair =
            pair_gradient<kKind, T>(row, columns[tile.column + j + lane], args.eps, grad[j + lane]);
        lanes.add(lane, pair.a);
        column_sums.add(j + lane, pair.b);
      }
    }
    BoxGradient<A> row_sum = lanes[0];
    for (int64_t lane = 1; lane < kWidth; ++lane) row_sum += lanes[lane];
    of_a.values[i * of_a.tiles + tile.column_tile] = row_sum;
  }
  for (int64_t j = 0; j < tile.columns; ++j) {
    of_b.values[(tile.column + j) * of_b.tiles + tile.row_tile] = column_sums[j];
  }
}

}  // namespace

// Writes 4 bytes a pair; about 15 (IoU) to 40 (CIoU) operations.
template <typename T>
void box_iou(const BoxIou<T>& args, Context& context) {
  using A = acc_t<T>;
  const Columns<A> columns(args.b, args.b_count, args.kind, context);
  with_kind(args.kind, [&](auto kind) {
    for_each_tile(args.a_count, args.b_count, [&](const TileRange& tile) {
      for (int64_t i = tile.row; i < tile.row + tile.rows; ++i) {
        const PairBox<A> row(load_box(args.a, i), kind);
        A* const out = args.iou + i * args.b_count;
        for (int64_t j = tile.column; j < tile.column + tile.columns; ++j) {
          out[j] = pair_iou<kind(), T>(row, columns[j], args.eps);
        }
      }
    });
  });
}

// Reads 4 bytes a pair; about 50 (IoU) to 100 (CIoU) operations.
template <typename T>
void box_iou_backward(const BoxIouBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  const Columns<A> columns(args.b, args.b_count, args.kind, context);
  const PartialGradients<A> of_a(args.a_count, tiles(args.b_count, kTileColumns), context);
  const PartialGradients<A> of_b(args.b_count, tiles(args.a_count, kTileRows), context);
  with_kind(args.kind, [&](auto kind) {
    for_each_tile(args.a_count, args.b_count,
                  [&](const TileRange& tile) { backward_tile<kind()>(args, columns, tile, of_a, of_b); });
  });
  of_a.finish(args.a, args.a_count, args.grad_a);
  of_b.finish(args.b, args.b_count, args.grad_b);
}

LDIE_INSTANTIATE(box_iou, BoxIou);
LDIE_INSTANTIATE(box_iou_backward, BoxIouBackward);

}  // namespace ldie::boxes
