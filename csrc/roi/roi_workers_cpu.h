// SPDX-License-Identifier: Apache-2.0
// CPU: what the threads of RoIAlign's forward and backward have in common. Each owns work that no other touches, so
// that results do not depend on their number.
#pragma once

#include <algorithm>
#include <vector>

#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "roi/plane_kernels_cpu.h"

namespace ldie::roi {

// Channels that a thread works on for each RoI: enough that the RoI's tables cost little beside them.
constexpr int64_t kPlanesPerTask = 64;
constexpr int64_t kTasksPerThread = 4;

// What one thread has to itself.
template <typename A>
struct Worker {
  PlaneTables<A> tables;
  A* bins;  // of one RoI
  A* sums;  // backward of 16-bit gradients
};

// Calls body(worker, task) for every task, on as many threads as there are workers.
template <typename A, typename Body>
void run_tasks(std::vector<Worker<A>>& workers, int64_t tasks, const Body& body) {
  parallel_workers(int64_t(workers.size()), [&](const auto& next, int64_t worker) {
    for (int64_t task = next(); task < tasks; task = next()) body(workers[size_t(worker)], task);
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

// Elements for the bins of one plane, where registers are stored beyond its end, and a row of them read.
template <typename A>
int64_t plane_bins(const RoiLayout<A>& layout) {
  return layout.bins() + round_up(layout.bins_x, kLanes<A>) + kLanes<A>;
}

template <typename A>
std::vector<Worker<A>> make_workers(const RoiLayout<A>& layout, int64_t count, bool backward, int64_t bins,
                                    int64_t sums, Context& context) {
  std::vector<Worker<A>> workers;
  for (int64_t w = 0; w < count; ++w) {
    workers.push_back({PlaneTables<A>::make(layout, backward, context), context.scratch_array<A>(bins),
                       context.scratch_array<A>(sums)});
  }
  return workers;
}

// The blocks of channels that tasks on planes are made of.
struct ChannelBlocks {
  int64_t channels, size;

  template <typename A>
  ChannelBlocks(const RoiLayout<A>& layout, int64_t workers, int64_t most) : channels(layout.channels) {
    size = std::clamp(layout.batch * channels / (workers * kTasksPerThread), int64_t(1), most);
  }
  int64_t count() const { return ceil_div(channels, size); }
  int64_t begin(int64_t block) const { return block * size; }
  int64_t end(int64_t block) const { return std::min(channels, (block + 1) * size); }
};

}  // namespace ldie::roi
