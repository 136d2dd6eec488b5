// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "heatmap/gaussian_maps.h"

namespace ldie::heatmap {
namespace {

constexpr int64_t kFactors = 512;  // computed at a time, those of both axes in the first-level cache

// Powers and exponentials in one loop would be a longer chain than a processor overlaps with the next.
template <typename A>
void axis_factors(double position, double scale, int64_t first, int64_t count, A* factors) {
  for (int32_t i = 0; i < int32_t(count); ++i) factors[i] = MapGaussian::factor<A>(position, scale, first, i);
}

// Rows [top, bottom) of a map, kFactors at the most.
template <typename T>
void draw_rows(const MapGaussian& gaussian, int64_t top, int64_t bottom, int64_t width, T* map) {
  using A = acc_t<T>;
  A rows[kFactors], columns[kFactors];
  axis_factors(gaussian.y, gaussian.scale, top, bottom - top, rows);
  for (int64_t left = 0; left < width; left += kFactors) {
    const int64_t count = std::min(kFactors, width - left);
    axis_factors(gaussian.x, gaussian.scale, left, count, columns);
    for (int64_t y = top; y < bottom; ++y) {
      const RowFactor<A> row(rows[y - top]);
      T* const cells = map + y * width + left;
      for (int64_t i = 0; i < count; ++i) cells[i] = T(row.value(columns[i]));
    }
  }
}

}  // namespace

// Writes each map once and reads nothing of its size; height + width exponentials a map, and a product a cell.
template <typename T>
void gaussian_maps(const GaussianMaps<T>& args, Context&) {
  constexpr int64_t kCellsPerTask = 1 << 14;
  parallel_for(args.count * args.height, 1 + kCellsPerTask / args.width, [&](int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end;) {
      const int64_t map = line / args.height, top = line % args.height;
      const int64_t rows = std::min({args.height - top, end - line, kFactors});
      draw_rows(args.gaussian(map), top, top + rows, args.width, args.maps + map * args.height * args.width);
      line += rows;
    }
  });
}

LDIE_INSTANTIATE(gaussian_maps, GaussianMaps);

}  // namespace ldie::heatmap
