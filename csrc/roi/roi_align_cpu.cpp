// SPDX-License-Identifier: Apache-2.0
// RoIAlign's forward: threads own planes, or RoIs where channels are last.
#include "core/instantiate.h"
#include "core/integers.h"
#include "roi/channels_last_kernels_cpu.h"
#include "roi/plane_kernels_cpu.h"
#include "roi/roi_groups_cpu.h"
#include "roi/roi_workers_cpu.h"

namespace ldie::roi {
namespace {

// Outputs of RoIs without an image.
template <typename T, typename A>
void clear_outputs(const RoiAlign<T>& args, const RoiGroups<A>& groups) {
  const int64_t size = args.layout.channels * args.layout.bins();
  const RoiRange range = groups.without_image();
  for (int64_t i = range.begin; i < range.end; ++i) std::fill_n(args.output + groups.row(i) * size, size, T(0));
}

template <typename T, typename A>
void pool_planes(const RoiAlign<T>& args, const RoiGroups<A>& groups, Worker<A>& worker, int64_t image, int64_t level,
                 const RoiRange& range, int64_t first, int64_t last) {
  const RoiLayout<A>& layout = args.layout;
  const int64_t cells = layout.levels[level].cells(), bins = layout.bins();
  for (int64_t i = range.begin; i < range.end; ++i) {
    const int64_t row = groups.row(i);
    worker.tables.fill(layout.roi(row), false);
    for (int64_t c = first; c < last; ++c) {
      T* const output = args.output + (row * layout.channels + c) * bins;
      if (worker.tables.empty()) {
        std::fill_n(output, bins, T(0));
        continue;
      }
      const T* const plane = args.features[level] + (image * layout.channels + c) * cells;
      if (c + kPlanesAhead < last) prefetch_plane(worker.tables, plane + kPlanesAhead * cells);
      pool_plane(worker.tables, plane, worker.bins);
      for (int64_t bin = 0; bin < bins; ++bin) output[bin] = T(worker.bins[bin]);
    }
  }
}

template <typename T, typename A>
void forward_planes(const RoiAlign<T>& args, const RoiGroups<A>& groups, std::vector<Worker<A>>& workers) {
  const RoiLayout<A>& layout = args.layout;
  const int64_t count = int64_t(workers.size());
  const ChannelBlocks blocks(layout, count, kPlanesPerTask);
  const int64_t planes = layout.batch * blocks.count();
  const int64_t parts = 1 + count * kTasksPerThread / (planes + 1);  // few planes: their RoIs are split too
  run_tasks(workers, planes * parts, [&](Worker<A>& worker, int64_t task) {
    const int64_t image = task / parts / blocks.count(), block = task / parts % blocks.count();
    for (int32_t level = 0; level < layout.choice.count; ++level) {
      const RoiRange range = groups.of_map(image, level).part(task % parts, parts);
      pool_planes(args, groups, worker, image, level, range, blocks.begin(block), blocks.end(block));
    }
  });
}

template <typename T, typename A>
void forward_channels_last(const RoiAlign<T>& args, const RoiGroups<A>& groups, std::vector<Worker<A>>& workers) {
  constexpr int64_t kRoisPerTask = 8;
  const RoiLayout<A>& layout = args.layout;
  const int64_t rois = groups.without_image().begin, size = layout.channels * layout.bins();
  run_tasks(workers, ceil_div(rois, kRoisPerTask), [&](Worker<A>& worker, int64_t task) {
    for (int64_t i = task * kRoisPerTask; i < std::min(rois, (task + 1) * kRoisPerTask); ++i) {
      const int64_t row = groups.row(i);
      const Roi<A> roi = layout.roi(row);
      worker.tables.fill(roi, false);
      T* const output = args.output + row * size;
      if (worker.tables.empty()) {
        std::fill_n(output, size, T(0));
        continue;
      }
      const int64_t image = roi.image * layout.levels[roi.level].cells() * layout.channels;
      pool_cells(worker.tables, args.features[roi.level] + image, layout.channels, output);
    }
  });
}

}  // namespace

template <typename T>
void roi_align(const RoiAlign<T>& args, Context& context) {
  using A = acc_t<T>;
  const RoiGroups<A> groups(args.layout, context);
  std::vector<Worker<A>> workers =
      make_workers(args.layout, worker_count(args.layout, false), false, plane_bins(args.layout), 0, context);
  clear_outputs(args, groups);
  if (args.layout.channels_last) {
    forward_channels_last(args, groups, workers);
  } else {
    forward_planes(args, groups, workers);
  }
}

LDIE_INSTANTIATE(roi_align, RoiAlign);

}  // namespace ldie::roi
