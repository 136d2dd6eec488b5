// SPDX-License-Identifier: Apache-2.0
// Threads own work that no other touches - planes, or for channels-last forward RoIs - and take RoIs in one order, so
// that results do not depend on their number.
#include <algorithm>
#include <atomic>
#include <type_traits>
#include <vector>

#include "core/instantiate.h"
#include "core/integers.h"
#include "roi/channels_last_kernels_cpu.h"
#include "roi/plane_kernels_cpu.h"
#include "roi/roi_groups_cpu.h"

namespace ldie::roi {
namespace {

// Channels that a thread works on for each RoI: enough that the RoI's tables cost little beside them.
constexpr int64_t kPlanesPerTask = 32;
constexpr int64_t kTasksPerThread = 4;

// What one thread has to itself.
template <typename A>
struct Worker {
  PlaneTables<A> tables;
  A* bins;    // of one RoI and channel
  A* planes;  // backward of 16-bit gradients: their sums
};

// Calls body(worker, task) for every task, on as many threads as there are workers.
template <typename A, typename Body>
void run_tasks(std::vector<Worker<A>>& workers, int64_t tasks, const Body& body) {
  std::atomic<int64_t> next{0};
  parallel_for(int64_t(workers.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t w = begin; w < end; ++w) {
      for (int64_t task = next++; task < tasks; task = next++) body(workers[size_t(w)], task);
    }
  });
}

template <typename A>
int64_t most_cells(const RoiLayout<A>& layout) {
  int64_t most = 0;
  for (int32_t level = 0; level < layout.choice.count; ++level) most = std::max(most, layout.levels[level].cells());
  return most;
}

// As many workers as have something to do: waking one takes as long as many thousand samples. An adaptive grid has
// up to one sample for each cell of a map.
template <typename A>
int64_t worker_count(const RoiLayout<A>& layout, bool backward) {
  constexpr double kSamplesPerWorker = 1 << 17;
  const double cells = double(most_cells(layout)), bins = double(layout.bins()), ratio = double(layout.sampling_ratio);
  double samples = double(layout.rois) * (ratio > 0 ? bins * ratio * ratio : std::max(bins, cells));
  if (backward) samples += double(layout.batch) * cells;  // to be cleared
  const double wanted = samples * double(layout.channels) / kSamplesPerWorker;
  const int64_t most = std::min(num_threads(), layout.rois + 1);
  return wanted < double(most) ? std::max(int64_t(wanted), int64_t(1)) : most;
}

template <typename A>
std::vector<Worker<A>> make_workers(const RoiLayout<A>& layout, int64_t count, bool backward, int64_t sums,
                                    Context& context) {
  std::vector<Worker<A>> workers(static_cast<size_t>(count));
  for (Worker<A>& worker : workers) {
    worker.tables = PlaneTables<A>::make(layout, backward, context);
    worker.bins = context.scratch_array<A>(layout.bins() + round_up(layout.bins_x, kLanes<A>) + kLanes<A>);
    worker.planes = sums ? context.scratch_array<A>(sums) : nullptr;
  }
  return workers;
}

// The blocks of channels that tasks are made of.
struct ChannelBlocks {
  int64_t channels, size;

  template <typename A>
  ChannelBlocks(const RoiLayout<A>& layout, int64_t workers, int64_t multiple, int64_t most)
      : channels(layout.channels) {
    const int64_t share = layout.batch * channels / (workers * kTasksPerThread);
    size = std::clamp(round_up(share, multiple), multiple, std::max(multiple, most));
  }
  int64_t count() const { return ceil_div(channels, size); }
  int64_t begin(int64_t block) const { return block * size; }
  int64_t end(int64_t block) const { return std::min(channels, (block + 1) * size); }
};

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
      pool_plane(worker.tables, args.features[level] + (image * layout.channels + c) * cells, worker.bins);
      for (int64_t bin = 0; bin < bins; ++bin) output[bin] = T(worker.bins[bin]);
    }
  }
}

template <typename T, typename A>
void forward_planes(const RoiAlign<T>& args, const RoiGroups<A>& groups, std::vector<Worker<A>>& workers) {
  const RoiLayout<A>& layout = args.layout;
  const int64_t count = int64_t(workers.size());
  const ChannelBlocks blocks(layout, count, 1, kPlanesPerTask);
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

// The gradient of channels first .. last - 1 of one map: planes of it, or a run of channels in each cell.
template <typename T>
struct GradBlock {
  T* grad;
  int64_t rows, columns, stride;  // `rows` runs of `columns` elements, `stride` apart
};

template <typename T, typename A>
GradBlock<T> grad_block(const RoiAlignBackward<T>& args, int64_t image, int64_t level, int64_t first, int64_t last) {
  const RoiLayout<A>& layout = args.layout;
  const int64_t cells = layout.levels[level].cells(), start = image * cells * layout.channels;
  T* const grad = args.grad_features[level] + start;
  if (layout.channels_last) return {grad + first, cells, last - first, layout.channels};
  return {grad + first * cells, last - first, cells, cells};
}

// Adds the RoIs of one map to its gradient's sums, which are as the block but for their own stride.
template <typename T, typename A>
void unpool_rois(const RoiAlignBackward<T>& args, const RoiGroups<A>& groups, Worker<A>& worker, const RoiRange& range,
                 int64_t first, const GradBlock<A>& sums) {
  const RoiLayout<A>& layout = args.layout;
  const int64_t bins = layout.bins();
  for (int64_t i = range.begin; i < range.end; ++i) {
    const int64_t row = groups.row(i);
    worker.tables.fill(layout.roi(row), true);
    if (worker.tables.empty()) continue;
    const T* const grad = args.grad_output + row * layout.channels * bins;
    if (layout.channels_last) {
      unpool_cells(worker.tables, grad + first, layout.channels, ChannelRun<A>{sums.grad, sums.stride, sums.columns});
      continue;
    }
    for (int64_t c = 0; c < sums.rows; ++c) {
      for (int64_t bin = 0; bin < bins; ++bin) worker.bins[bin] = A(grad[(first + c) * bins + bin]);
      unpool_plane(worker.tables, worker.bins, sums.grad + c * sums.stride);
    }
  }
}

// One map and block of channels: clear, add up, and for 16-bit gradients round what was added up.
template <typename T, typename A>
void backward_block(const RoiAlignBackward<T>& args, const RoiGroups<A>& groups, Worker<A>& worker, int64_t image,
                    int64_t level, int64_t first, int64_t last) {
  const GradBlock<T> block = grad_block<T, A>(args, image, level, first, last);
  GradBlock<A> sums{worker.planes, block.rows, block.columns, block.columns};
  if constexpr (std::is_same_v<T, A>) sums = block;
  for (int64_t r = 0; r < sums.rows; ++r) std::fill_n(sums.grad + r * sums.stride, sums.columns, A(0));
  unpool_rois(args, groups, worker, groups.of_map(image, level), first, sums);
  if constexpr (!std::is_same_v<T, A>) {
    for (int64_t r = 0; r < block.rows; ++r) {
      const A* const source = sums.grad + r * sums.stride;
      T* const target = block.grad + r * block.stride;
      for (int64_t i = 0; i < block.columns; ++i) target[i] = T(source[i]);
    }
  }
}

}  // namespace

template <typename T>
void roi_align(const RoiAlign<T>& args, Context& context) {
  using A = acc_t<T>;
  const RoiGroups<A> groups(args.layout, context);
  std::vector<Worker<A>> workers = make_workers(args.layout, worker_count(args.layout, false), false, 0, context);
  clear_outputs(args, groups);
  if (args.layout.channels_last) {
    forward_channels_last(args, groups, workers);
  } else {
    forward_planes(args, groups, workers);
  }
}

template <typename T>
void roi_align_backward(const RoiAlignBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr bool kNarrow = !std::is_same_v<T, A>;
  const RoiLayout<A>& layout = args.layout;
  const int64_t count = worker_count(layout, true);
  const ChannelBlocks blocks(layout, count, layout.channels_last ? kLanes<A> : 1,
                             kNarrow ? kPlanesPerTask / 2 : kPlanesPerTask);
  const RoiGroups<A> groups(layout, context);
  const int64_t sums = kNarrow ? blocks.size * most_cells(layout) : 0;
  std::vector<Worker<A>> workers = make_workers(layout, count, true, sums, context);
  run_tasks(workers, layout.batch * blocks.count(), [&](Worker<A>& worker, int64_t task) {
    const int64_t image = task / blocks.count(), block = task % blocks.count();
    for (int32_t level = 0; level < layout.choice.count; ++level) {
      backward_block(args, groups, worker, image, level, blocks.begin(block), blocks.end(block));
    }
  });
}

LDIE_INSTANTIATE(roi_align, RoiAlign);
LDIE_INSTANTIATE(roi_align_backward, RoiAlignBackward);

}  // namespace ldie::roi
