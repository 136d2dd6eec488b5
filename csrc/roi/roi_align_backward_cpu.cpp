// SPDX-License-Identifier: Apache-2.0
// RoIAlign's backward: threads own planes, or rows of a map where channels are last, and take the RoIs that read them
// in one order.
#include <type_traits>

#include "core/instantiate.h"
#include "core/integers.h"
#include "roi/channels_last_kernels_cpu.h"
#include "roi/plane_kernels_cpu.h"
#include "roi/roi_groups_cpu.h"
#include "roi/roi_workers_cpu.h"

namespace ldie::roi {
namespace {

// 16-bit gradients are summed up elsewhere and rounded once.
template <typename T>
constexpr bool kNarrow = !std::is_same_v<T, acc_t<T>>;

template <typename T, typename A>
A* sums_in(T* grad, A* sums) {
  if constexpr (kNarrow<T>)
    return sums;
  else
    return grad;
}

template <typename T, typename A>
void round_sums(const A* sums, int64_t count, T* grad) {
  if constexpr (kNarrow<T>) {
    for (int64_t i = 0; i < count; ++i) grad[i] = T(sums[i]);
  }
}

// ---- planes

// `bins` gets the gradients of one RoI and channel.
template <typename T, typename A>
void read_bins(const RoiAlignBackward<T>& args, int64_t row, int64_t channel, A* bins) {
  const GradStrides& strides = args.strides;
  const T* source = args.grad_output + row * strides.roi + channel * strides.channel;
  for (int64_t p = 0; p < args.layout.bins_y; ++p, source += strides.y, bins += args.layout.bins_x) {
    if (strides.x == 1) {
      for (int64_t q = 0; q < args.layout.bins_x; ++q) bins[q] = A(source[q]);
    } else {
      for (int64_t q = 0; q < args.layout.bins_x; ++q) bins[q] = A(source[q * strides.x]);
    }
  }
}

// Channels first .. last - 1 of one map.
template <typename T, typename A>
void backward_block(const RoiAlignBackward<T>& args, const RoiGroups<A>& groups, Worker<A>& worker, int64_t image,
                    int64_t level, int64_t first, int64_t last) {
  const RoiLayout<A>& layout = args.layout;
  const int64_t cells = layout.levels[level].cells(), count = (last - first) * cells;
  T* const grad = args.grad_features[level] + (image * layout.channels + first) * cells;
  A* const sums = sums_in(grad, worker.sums);
  std::fill_n(sums, count, A(0));
  const RoiRange range = groups.of_map(image, level);
  for (int64_t i = range.begin; i < range.end; ++i) {
    const int64_t row = groups.row(i);
    worker.tables.fill(layout.roi(row), true);
    if (worker.tables.empty()) continue;
    for (int64_t c = first; c < last; ++c) {
      if (c + kPlanesAhead < last) prefetch_plane(worker.tables, sums + (c + kPlanesAhead - first) * cells);
      read_bins(args, row, c, worker.bins);
      unpool_plane(worker.tables, worker.bins, sums + (c - first) * cells);
    }
  }
  round_sums(sums, count, grad);
}

template <typename T, typename A>
void backward_planes(const RoiAlignBackward<T>& args, const RoiGroups<A>& groups, Context& context) {
  const RoiLayout<A>& layout = args.layout;
  const int64_t count = worker_count(layout, true);
  const ChannelBlocks blocks(layout, count, kNarrow<T> ? kPlanesPerTask / 4 : kPlanesPerTask);
  std::vector<Worker<A>> workers =
      make_workers(layout, count, true, plane_bins(layout), kNarrow<T> ? blocks.size * most_cells(layout) : 0, context);
  run_tasks(workers, layout.batch * blocks.count(), [&](Worker<A>& worker, int64_t task) {
    const int64_t image = task / blocks.count(), block = task % blocks.count();
    for (int32_t level = 0; level < layout.choice.count; ++level) {
      backward_block(args, groups, worker, image, level, blocks.begin(block), blocks.end(block));
    }
  });
}

// ---- channels last

// Rows of one map, with all their channels: what a task owns.
struct Band {
  int64_t image;
  int32_t level;
  CellRange rows;
};

// The maps cut into bands.
template <typename A>
class Bands {
 public:
  Bands(const RoiLayout<A>& layout, int64_t workers) : layout_(layout) {
    int64_t rows = 0;
    for (int32_t level = 0; level < layout.choice.count; ++level) rows += layout.batch * layout.levels[level].height;
    height_ = std::clamp(rows / (workers * kTasksPerWorker), kLeastRows, kMostRows);
  }

  int64_t count() const {
    int64_t count = 0;
    for (int32_t level = 0; level < layout_.choice.count; ++level) count += layout_.batch * of_level(level);
    return count;
  }

  // The elements of the largest.
  int64_t most_elements() const {
    int64_t most = 0;
    for (int32_t level = 0; level < layout_.choice.count; ++level) {
      most = std::max(most, std::min(height_, int64_t(layout_.levels[level].height)) * layout_.levels[level].width);
    }
    return most * layout_.channels;
  }

  Band operator[](int64_t index) const {
    int32_t level = 0;
    for (; index >= layout_.batch * of_level(level); ++level) index -= layout_.batch * of_level(level);
    const int64_t begin = index % of_level(level) * height_;
    const int64_t end = std::min(begin + height_, int64_t(layout_.levels[level].height));
    return {index / of_level(level), level, {int32_t(begin), int32_t(end)}};
  }

 private:
  // A RoI's tables are made anew in each band that it meets, and a band is to stay in a cache while RoIs add to it.
  static constexpr int64_t kTasksPerWorker = 16, kLeastRows = 4, kMostRows = 32;

  int64_t of_level(int32_t level) const { return ceil_div(int64_t(layout_.levels[level].height), height_); }

  const RoiLayout<A>& layout_;
  int64_t height_;
};

// The gradients of one RoI with their channels next to each other: where they stand, or copied to `copy` if they stand
// in another order.
template <typename T, typename A, typename Body>
void with_bin_grads(const RoiAlignBackward<T>& args, int64_t row, A* copy, const Body& body) {
  const RoiLayout<A>& layout = args.layout;
  const GradStrides& strides = args.strides;
  const T* const grad = args.grad_output + row * strides.roi;
  if (strides.channel == 1) return body(BinGrads<T>{grad, strides.y, strides.x});
  A* target = copy;
  for (int64_t p = 0; p < layout.bins_y; ++p) {
    for (int64_t q = 0; q < layout.bins_x; ++q, target += layout.channels) {
      const T* const source = grad + p * strides.y + q * strides.x;
      if (strides.channel == 0) {
        std::fill_n(target, layout.channels, A(*source));
      } else {
        for (int64_t c = 0; c < layout.channels; ++c) target[c] = A(source[c * strides.channel]);
      }
    }
  }
  body(BinGrads<A>{copy, layout.bins_x * layout.channels, layout.channels});
}

template <typename T, typename A>
void backward_band(const RoiAlignBackward<T>& args, const RoiGroups<A>& groups, const CellRange* rows,
                   Worker<A>& worker, const Band& band) {
  const RoiLayout<A>& layout = args.layout;
  const RoiLevel<A>& level = layout.levels[band.level];
  const int64_t row_size = level.width * layout.channels, size = band.rows.count() * row_size;
  T* const grad = args.grad_features[band.level] + (band.image * level.height + band.rows.begin) * row_size;
  A* const sums = sums_in(grad, worker.sums);
  PlaneTables<A>& tables = worker.tables;
  std::fill_n(sums, size, A(0));
  const RoiRange range = groups.of_map(band.image, band.level);
  for (int64_t i = range.begin; i < range.end; ++i) {
    if (!rows[i].meets(band.rows)) continue;
    const int64_t row = groups.row(i);
    tables.fill(layout.roi(row), true);
    const CellRange met{std::max(tables.rows.begin, band.rows.begin), std::min(tables.rows.end, band.rows.end)};
    if (tables.empty() || !tables.rows.meets(band.rows)) continue;
    A* const corner = sums + (met.begin - band.rows.begin) * row_size + tables.columns.begin * layout.channels;
    with_bin_grads(args, row, worker.bins,
                   [&](const auto& grads) { unpool_cells(tables, grads, met, layout.channels, corner); });
  }
  round_sums(sums, size, grad);
}

// The rows that each RoI may read, in the groups' order.
template <typename A>
const CellRange* find_rows(const RoiLayout<A>& layout, const RoiGroups<A>& groups, Context& context) {
  auto* const rows = context.scratch_array<CellRange>(layout.rois);
  parallel_for(layout.rois, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) rows[i] = cells_read(layout.roi(groups.row(i)).y, layout.bins_y);
  });
  return rows;
}

template <typename T, typename A>
void backward_channels_last(const RoiAlignBackward<T>& args, const RoiGroups<A>& groups, Context& context) {
  const RoiLayout<A>& layout = args.layout;
  const int64_t count = worker_count(layout, true);
  const Bands<A> bands(layout, count);
  const CellRange* const rows = find_rows(layout, groups, context);
  const int64_t copied = args.strides.channel == 1 ? 0 : layout.bins() * layout.channels;
  std::vector<Worker<A>> workers =
      make_workers(layout, count, true, copied, kNarrow<T> ? bands.most_elements() : 0, context);
  run_tasks(workers, bands.count(),
            [&](Worker<A>& worker, int64_t task) { backward_band(args, groups, rows, worker, bands[task]); });
}

}  // namespace

template <typename T>
void roi_align_backward(const RoiAlignBackward<T>& args, Context& context) {
  const RoiGroups<acc_t<T>> groups(args.layout, context);
  if (args.layout.channels_last) {
    backward_channels_last(args, groups, context);
  } else {
    backward_planes(args, groups, context);
  }
}

LDIE_INSTANTIATE(roi_align_backward, RoiAlignBackward);

}  // namespace ldie::roi
