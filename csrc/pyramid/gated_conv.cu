// SPDX-License-Identifier: Apache-2.0
// 2 * taps flops for each map, channel, sum and cell, and little memory: 8 x 80 maps of 50 x 84 and a window of 7 x 7
// are 264 Mflop, 4 us at 67 Tflop/s, and 28 MB, 7 us at 4 TB/s. A thread owns a cell of several maps, so that it reads
// a response once for all of them; what neighbours read again of the maps comes from the first-level cache.
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/simt.cuh"
#include "pyramid/gated_conv.h"

namespace ldie::pyramid {
namespace {

constexpr int kTileWidth = 32, kTileHeight = 4;
constexpr int kThreads = kTileWidth * kTileHeight;

// The cell of this thread in a tile of the map.
struct Cell {
  int64_t y, x;

  __device__ Cell(const TapWindow& window, int64_t tile) {
    const int64_t tiles_x = ceil_div(window.width, int64_t(kTileWidth));
    y = tile / tiles_x * kTileHeight + threadIdx.x / kTileWidth;
    x = tile % tiles_x * kTileWidth + threadIdx.x % kTileWidth;
  }
};

__device__ __forceinline__ bool inside(const TapWindow& window, int64_t y, int64_t x) {
  return window.has_row(y) & (x >= 0) & (x < window.width);
}

int64_t tile_count(const TapWindow& window) {
  return ceil_div(window.width, int64_t(kTileWidth)) * ceil_div(window.height, int64_t(kTileHeight));
}

// Adds what one channel gives to kSums results of kMaps maps. Past the last map its own cells again.
template <int kMaps, int kSums, typename T>
__device__ __forceinline__ void add_taps(const GatedSums<T>& args, int64_t image, int64_t first_map, int64_t first_sum,
                                         int64_t channel, const Cell& cell, acc_t<T> (&sums)[kMaps][kSums]) {
  using A = acc_t<T>;
  const TapWindow& window = args.window;
  const T *maps[kMaps], *responses[kSums];
#pragma unroll
  for (int n = 0; n < kMaps; ++n) maps[n] = args.map(image, min(first_map + n, args.count - 1), channel);
#pragma unroll
  for (int s = 0; s < kSums; ++s) responses[s] = args.response(image, first_sum + s, channel, 0);
  const int64_t here = cell.y * window.width + cell.x, next = args.turned ? -window.plane() : window.plane();
  int64_t plane = 0;  // of the tap
  for (int64_t y = cell.y - window.radius(); y <= cell.y + window.radius(); ++y) {
    for (int64_t x = cell.x - window.radius(); x <= cell.x + window.radius(); ++x, plane += next) {
      if (!inside(window, y, x)) continue;
      const int64_t there = y * window.width + x, at = plane + (args.turned ? here : there);
      A factors[kSums];
#pragma unroll
      for (int s = 0; s < kSums; ++s) factors[s] = A(responses[s][at]);
#pragma unroll
      for (int n = 0; n < kMaps; ++n) {
        const A gate = A(maps[n][there]);
#pragma unroll
        for (int s = 0; s < kSums; ++s) sums[n][s] = mul_add(gate, factors[s], sums[n][s]);
      }
    }
  }
}

template <int kMaps, int kSums, typename T>
__global__ void __launch_bounds__(kThreads) gated_sums_kernel(GatedSums<T> args, int64_t first_sum, int64_t tiles) {
  for (int64_t image = blockIdx.z; image < args.batch; image += gridDim.z) {
    for (int64_t first = int64_t(blockIdx.y) * kMaps; first < args.count; first += int64_t(gridDim.y) * kMaps) {
      for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const Cell cell(args.window, tile);
        if (!inside(args.window, cell.y, cell.x)) continue;
        acc_t<T> sums[kMaps][kSums] = {};
        for (int64_t channel = 0; channel < args.channels; ++channel) {
          add_taps(args, image, first, first_sum, channel, cell, sums);
        }
#pragma unroll
        for (int n = 0; n < kMaps; ++n) {
          if (first + n >= args.count) break;
#pragma unroll
          for (int s = 0; s < kSums; ++s) {
            args.result(image, first + n, first_sum + s)[cell.y * args.window.width + cell.x] = T(sums[n][s]);
          }
        }
      }
    }
  }
}

template <int kMaps, int kSums, typename T>
void launch_sums(const GatedSums<T>& args, int64_t first_sum, Context& context) {
  const int64_t tiles = tile_count(args.window);
  const dim3 grid(grid_side(tiles, kMostBlocksX), grid_blocks(args.count, kMaps), grid_side(args.batch));
  LDIE_LAUNCH((gated_sums_kernel<kMaps, kSums, T>), grid, dim3(kThreads), 0, context.stream, args, first_sum, tiles);
}

// kTaps taps of one row of the window: blockIdx.y counts these rows, with the outputs and images.
template <int kTaps, typename T>
__global__ void __launch_bounds__(kThreads)
    gated_products_kernel(GatedProducts<T> args, int64_t first_tap, int64_t tiles) {
  using A = acc_t<T>;
  const TapWindow& window = args.window;
  for (int64_t line = blockIdx.y; line < args.batch * args.outputs * window.side; line += gridDim.y) {
    const int64_t image = line / window.side / args.outputs, output = line / window.side % args.outputs;
    const int64_t ky = line % window.side;
    for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      const Cell cell(window, tile);
      if (!inside(window, cell.y, cell.x)) continue;
      const int64_t y = cell.y - (ky - window.radius()), x = cell.x - (first_tap - window.radius());
      A sums[kTaps] = {};
      for (int64_t n = 0; n < args.count; ++n) {
        const A gate = A(args.gate(image, n)[cell.y * window.width + cell.x]);
        const T* const grads = args.grad(image, n, output) + y * window.width + x;
#pragma unroll
        for (int t = 0; t < kTaps; ++t) {
          if (inside(window, y, x - t)) sums[t] = mul_add(A(grads[-t]), gate, sums[t]);
        }
      }
#pragma unroll
      for (int t = 0; t < kTaps; ++t) {
        T* const cells = args.result(image, output, ky * window.side + first_tap + t);
        cells[cell.y * window.width + cell.x] = T(sums[t]);
      }
    }
  }
}

template <int kTaps, typename T>
void launch_products(const GatedProducts<T>& args, int64_t first_tap, Context& context) {
  const int64_t tiles = tile_count(args.window);
  const dim3 grid(grid_side(tiles, kMostBlocksX), grid_side(args.batch * args.outputs * args.window.side));
  LDIE_LAUNCH((gated_products_kernel<kTaps, T>), grid, dim3(kThreads), 0, context.stream, args, first_tap, tiles);
}

}  // namespace

template <typename T>
void gated_sums(const GatedSums<T>& args, Context& context) {
  int64_t sum = 0;
  for (; sum + 3 <= args.sums; sum += 3) launch_sums<4, 3>(args, sum, context);
  for (; sum < args.sums; ++sum) launch_sums<8, 1>(args, sum, context);
}

template <typename T>
void gated_products(const GatedProducts<T>& args, Context& context) {
  int64_t tap = 0;
  for (; tap + 7 <= args.window.side; tap += 7) launch_products<7>(args, tap, context);
  for (; tap + 3 <= args.window.side; tap += 3) launch_products<3>(args, tap, context);
  for (; tap < args.window.side; ++tap) launch_products<1>(args, tap, context);
}

LDIE_INSTANTIATE(gated_sums, GatedSums);
LDIE_INSTANTIATE(gated_products, GatedProducts);

}  // namespace ldie::pyramid
