// SPDX-License-Identifier: Apache-2.0
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "heatmap/center_heatmap.h"

namespace ldie::heatmap {
namespace {

// Columns drawn at a time, their factors in the first-level cache.
constexpr int64_t kColumns = 256;

template <typename T>
void draw(const CenterHeatmap<T>& args, const CenterGaussian& gaussian, T* plane) {
  using A = acc_t<T>;
  const CellWindow window = gaussian.window(args.height, args.width);
  A factors[kColumns];
  for (int64_t left = window.x1; left < window.x2; left += kColumns) {
    const int64_t columns = left + kColumns < window.x2 ? kColumns : window.x2 - left;
    for (int64_t i = 0; i < columns; ++i) factors[i] = gaussian.factor<A>(left + i - gaussian.x);
    for (int64_t y = window.y1; y < window.y2; ++y) {
      const A row_factor = gaussian.factor<A>(y - gaussian.y);
      T* const row = plane + y * args.width + left;
      for (int64_t i = 0; i < columns; ++i) {
        const A value = row_factor * factors[i], before = A(row[i]);
        row[i] = T(value > before ? value : before);
      }
    }
  }
}

template <typename T>
void draw_plane(const CenterHeatmap<T>& args, int64_t image, int64_t label) {
  T* const plane = args.heatmap + (image * args.classes + label) * args.height * args.width;
  const RowRange range = row_range(args.offsets, image, args.rows);
  for (int64_t row = range.begin; row < range.end; ++row) {
    if (args.labels[row] == label) draw(args, args.gaussians[row], plane);
  }
}

}  // namespace

template <typename T>
void center_gaussians(const CenterGaussians<T>& args, Context&) {
  constexpr int64_t kBoxesPerTask = 1 << 12;
  parallel_for(args.rows, kBoxesPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) args.fill(row);
  });
}

// Touches the windows of the Gaussians and nothing else: the rest of the map is pages that the system zeroes on demand,
// so this costs less than a memset of the map. A thread owns whole planes, so the maximum needs no lock.
template <typename T>
void center_heatmap(const CenterHeatmap<T>& args, Context&) {
  constexpr int64_t kBoxesPerTask = 128;
  const int64_t planes_per_task = kBoxesPerTask * args.batch * args.classes / (args.rows + 1) + 1;
  parallel_for(args.batch * args.classes, planes_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) draw_plane(args, p / args.classes, p % args.classes);
  });
}

LDIE_INSTANTIATE(center_gaussians, CenterGaussians);
LDIE_INSTANTIATE(center_heatmap, CenterHeatmap);

}  // namespace ldie::heatmap
