// SPDX-License-Identifier: Apache-2.0
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "heatmap/center_heatmap.h"
#include "heatmap/draw_gaussian_cpu.h"

namespace ldie::heatmap {
namespace {

template <typename T>
void draw_plane(const CenterHeatmap<T>& args, int64_t image, int64_t label) {
  const CellRange all{0, args.height * args.width};
  T* const plane = args.heatmap + (image * args.classes + label) * all.end;
  const RowRange range = row_range(args.offsets, image, args.rows);
  for (int64_t row = range.begin; row < range.end; ++row) {
    if (args.labels[row] == label) draw_gaussian(args.gaussians[row], args.height, args.width, all, plane);
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
