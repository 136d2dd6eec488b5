// SPDX-License-Identifier: Apache-2.0
// A block owns kTileCells consecutive cells of one plane; it first lists the Gaussians that reach them, so that the
// many tiles without one take their heatmap for zero. 262 us on an H200 for 32 x 80 x 128 x 128 forward and backward,
// where center_focal_loss takes 217 and its heatmap 53.
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/pack.cuh"
#include "losses/center_focal_loss_from_boxes.h"
#include "losses/peak_sums.cuh"

namespace ldie::losses {
namespace {

constexpr int kThreads = 256;
constexpr int kListed = kThreads;  // Gaussians held in shared memory at a time: every thread offers one a round
constexpr int kPacks = 2;          // of each thread

template <int kWidth>
constexpr int kTileCells = kThreads * kPacks * kWidth;

// Where a block works: cells [begin, begin + kTileCells) of a plane.
struct Tile {
  int64_t plane, begin;
};

template <int kWidth>
__device__ Tile tile_of_block(const GaussianMaps& maps) {
  const int64_t per_plane = ceil_div(maps.cells(), kTileCells<kWidth>);
  return {blockIdx.x / per_plane, blockIdx.x % per_plane * kTileCells<kWidth>};
}

// The first cell of a thread's pack number p; packs of neighbouring threads are neighbours.
template <int kWidth>
__device__ int64_t first_cell(const Tile& tile, int p) {
  return tile.begin + (int64_t(p) * kThreads + threadIdx.x) * kWidth;
}

template <typename T, int kWidth>
struct Loaded {
  Pack<T, kWidth> packs[kPacks];
};

// The thread's cells of a plane, as far as the plane goes; asked for before the drawing, which hides the waiting.
template <int kWidth, typename T>
__device__ Loaded<T, kWidth> load_cells(const T* plane, const Tile& tile, int64_t cells) {
  Loaded<T, kWidth> loaded{};
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int64_t cell = first_cell<kWidth>(tile, p);
    if (cell < cells) loaded.packs[p] = load_pack<kWidth>(plane, cell / kWidth);
  }
  return loaded;
}

template <typename A, int kWidth>
struct Heat {
  A values[kPacks][kWidth];
};

// Raises a pack of cells, all in one row, to a Gaussian.
template <typename A, int kWidth>
__device__ void raise(A (&cells)[kWidth], int64_t x, int64_t y, const heatmap::CenterGaussian& gaussian,
                      const heatmap::CellWindow& window) {
  if (y < window.y1 || y >= window.y2 || x >= window.x2 || x + kWidth <= window.x1) return;
  const A row_factor = gaussian.factor<A>(y - gaussian.y);
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    const A value = row_factor * gaussian.factor<A>(x + k - gaussian.x);
    if (x + k >= window.x1 && x + k < window.x2 && value > cells[k]) cells[k] = value;
  }
}

// The heatmap of the thread's cells. All threads of the block must call.
template <typename A, int kWidth>
__device__ Heat<A, kWidth> draw_tile(const GaussianMaps& maps, const Tile& tile) {
  LDIE_SHARED(heatmap::CenterGaussian, listed, [kListed]);
  LDIE_SHARED(int, count, );
  Heat<A, kWidth> heat{};
  const int64_t image = tile.plane / maps.classes, label = tile.plane % maps.classes;
  const int64_t end = min(tile.begin + kTileCells<kWidth>, maps.cells());
  const RowRange range = row_range(maps.offsets, image, maps.rows);
  for (int64_t base = range.begin; base < range.end; base += kListed) {
    __syncthreads();  // the list of the round before is read no more
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    const int64_t row = base + threadIdx.x;
    if (row < range.end && maps.labels[row] == label) {
      const heatmap::CenterGaussian gaussian = maps.gaussians[row];
      const heatmap::CellWindow window = gaussian.window(maps.height, maps.width);
      const bool reaches = window.y1 * maps.width < end && window.y2 * maps.width > tile.begin;
      if (reaches) listed[atomicAdd(&count, 1)] = gaussian;
    }
    __syncthreads();
    if (count == 0) continue;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int64_t cell = first_cell<kWidth>(tile, p), y = cell / maps.width, x = cell - y * maps.width;
      for (int i = 0; i < count; ++i) {
        raise(heat.values[p], x, y, listed[i], listed[i].window(maps.height, maps.width));
      }
    }
  }
  return heat;
}

// Reads 4 bytes a cell in float32, and computes about 50 flops for each: 126.5 us for those, 31 % of a copy's speed.
template <typename T, typename Term, int kWidth>
__global__ void __launch_bounds__(kThreads) loss_kernel(CenterFocalLossFromBoxes<T> args, Term term, PeakSums sums) {
  using A = acc_t<T>;
  const Tile tile = tile_of_block<kWidth>(args.maps);
  const auto loaded = load_cells<kWidth>(args.logits + tile.plane * args.maps.cells(), tile, args.maps.cells());
  const Heat<A, kWidth> heat = draw_tile<A, kWidth>(args.maps, tile);
  A loss = A(0);
  int32_t peaks = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    if (first_cell<kWidth>(tile, p) >= args.maps.cells()) break;
    const auto x = loaded.packs[p];
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const A logit = A(x.values[k]);
      loss += term.loss(logit, heat.values[p][k], exp_minus_abs(logit));
      peaks += heat.values[p][k] == A(1);
    }
  }
  store_peak_sum<kThreads>(sums, blockIdx.x, loss, peaks);
}

// Reads and writes 4 bytes a cell in float32: 122 us for those, 64 % of a copy's speed.
template <typename T, typename Term, int kWidth>
__global__ void __launch_bounds__(kThreads) gradient_kernel(CenterFocalLossFromBoxesBackward<T> args, Term term) {
  using A = acc_t<T>;
  const Tile tile = tile_of_block<kWidth>(args.maps);
  const int64_t offset = tile.plane * args.maps.cells();
  const auto loaded = load_cells<kWidth>(args.logits + offset, tile, args.maps.cells());
  const A scale = A(double(A(*args.grad)) / peak_divisor(*args.num_peaks));
  const Heat<A, kWidth> heat = draw_tile<A, kWidth>(args.maps, tile);
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int64_t cell = first_cell<kWidth>(tile, p);
    if (cell >= args.maps.cells()) break;
    auto x = loaded.packs[p];
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      const A logit = A(x.values[k]);
      x.values[k] = T(term.gradient(logit, heat.values[p][k], exp_minus_abs(logit)) * scale);
    }
    store_pack<kWidth>(args.grad_logits + offset, cell / kWidth, x);
  }
}

template <int kWidth>
int64_t blocks_for(const GaussianMaps& maps) {
  return maps.batch * maps.classes * (ceil_div(maps.cells(), kTileCells<kWidth>));
}

template <int kWidth, typename T, typename Term>
void launch_loss(const CenterFocalLossFromBoxes<T>& args, const Term& term, Context& context) {
  const int64_t blocks = blocks_for<kWidth>(args.maps);
  const PeakSums sums = make_peak_sums(context, blocks);
  LDIE_LAUNCH((loss_kernel<T, Term, kWidth>), dim3(unsigned(blocks)), dim3(kThreads), 0, context.stream, args, term,
              sums);
  finish_peak_sums(sums, args.loss, args.num_peaks, context);
}

template <int kWidth, typename T, typename Term>
void launch_gradient(const CenterFocalLossFromBoxesBackward<T>& args, const Term& term, Context& context) {
  const int64_t blocks = blocks_for<kWidth>(args.maps);
  LDIE_LAUNCH((gradient_kernel<T, Term, kWidth>), dim3(unsigned(blocks)), dim3(kThreads), 0, context.stream, args,
              term);
}

}  // namespace

// Packs need aligned rows: then each lies in one row, and so does every plane's start on a boundary.
template <typename T>
void center_focal_loss_from_boxes(const CenterFocalLossFromBoxes<T>& args, Context& context) {
  const bool packed = args.maps.width % kPackWidth<T> == 0 && packs_fit({args.logits});
  with_center_focal_term<acc_t<T>>(args.alpha, args.beta, [&](const auto& term) {
    packed ? launch_loss<kPackWidth<T>>(args, term, context) : launch_loss<1>(args, term, context);
  });
}

template <typename T>
void center_focal_loss_from_boxes_backward(const CenterFocalLossFromBoxesBackward<T>& args, Context& context) {
  const bool packed = args.maps.width % kPackWidth<T> == 0 && packs_fit({args.logits, args.grad_logits});
  with_center_focal_term<acc_t<T>>(args.alpha, args.beta, [&](const auto& term) {
    packed ? launch_gradient<kPackWidth<T>>(args, term, context) : launch_gradient<1>(args, term, context);
  });
}

LDIE_INSTANTIATE(center_focal_loss_from_boxes, CenterFocalLossFromBoxes);
LDIE_INSTANTIATE(center_focal_loss_from_boxes_backward, CenterFocalLossFromBoxesBackward);

}  // namespace ldie::losses
