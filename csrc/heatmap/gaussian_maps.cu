// SPDX-License-Identifier: Apache-2.0
// Writes each map once and reads nothing of its size: the store bandwidth decides, or the launch. 8 x 80 maps of 50 x
// 84 are 11 MB in float32, 3 us at 4 TB/s. A block owns a tile of one map and computes one factor for each of its rows
// and columns; a warp stores consecutive cells of a row.
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/simt.cuh"
#include "heatmap/gaussian_maps.h"

namespace ldie::heatmap {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 32, kColumns = 128;  // of a tile

template <typename T>
__global__ void __launch_bounds__(kThreads) gaussian_maps_kernel(GaussianMaps<T> args, int64_t tiles_x, int64_t tiles) {
  using A = acc_t<T>;
  LDIE_SHARED(A, rows, [kRows]);
  LDIE_SHARED(A, columns, [kColumns]);
  const int thread = int(threadIdx.x);
  for (int64_t map = blockIdx.x; map < args.count; map += gridDim.x) {
    const MapGaussian gaussian = args.gaussian(map);
    for (int64_t tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
      const int64_t top = tile / tiles_x * kRows, left = tile % tiles_x * kColumns;
      const int height = int(min(int64_t(kRows), args.height - top));
      const int width = int(min(int64_t(kColumns), args.width - left));
      __syncthreads();  // the factors of the tile before may still be read
      if (thread < width) columns[thread] = MapGaussian::factor<A>(gaussian.x, gaussian.scale, left, thread);
      const int row = thread - kColumns;
      if (row >= 0 && row < height) rows[row] = MapGaussian::factor<A>(gaussian.y, gaussian.scale, top, row);
      __syncthreads();
      T* const cells = args.maps + (map * args.height + top) * args.width + left;
      for (int i = thread; i < height * width; i += kThreads) {
        const int y = i / width, x = i - y * width;
        cells[y * args.width + x] = T(RowFactor<A>(rows[y]).value(columns[x]));
      }
    }
  }
}

}  // namespace

template <typename T>
void gaussian_maps(const GaussianMaps<T>& args, Context& context) {
  const int64_t tiles_x = ceil_div(args.width, int64_t(kColumns));
  const int64_t tiles = tiles_x * ceil_div(args.height, int64_t(kRows));
  const dim3 grid(grid_side(args.count, kMostBlocksX), grid_side(tiles));
  LDIE_LAUNCH(gaussian_maps_kernel<T>, grid, dim3(kThreads), 0, context.stream, args, tiles_x, tiles);
}

LDIE_INSTANTIATE(gaussian_maps, GaussianMaps);

}  // namespace ldie::heatmap
