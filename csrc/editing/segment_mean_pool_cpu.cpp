// SPDX-License-Identifier: Apache-2.0
// Segments are connected, so that a row of pixels is a few runs: what a run adds to its segment is summed without going
// through memory. A task has a group of channels of one image to itself, and adds tile after tile of its pixels.
#include <algorithm>

#include "core/instantiate.h"
#include "core/tiles_cpu.h"
#include "editing/segment_mean_pool.h"

namespace ldie::editing {
namespace {

// Channels of a task, as many as leave every thread some tasks, and of those of planes that are added up side by side.
constexpr int64_t kLeastChannels = 32, kMostChannels = 256, kPlanes = 8, kTasksPerThread = 4;

// Pixels [begin, end) of a tile, all of one segment.
struct SegmentRun {
  int32_t begin, end, segment;
};

// The runs of a tile, without those that belong to no segment; their number.
int64_t find_runs(const SegmentMap& map, int64_t image, int64_t first, int64_t count, SegmentRun* runs) {
  int64_t found = 0;
  for (int64_t begin = 0, end; begin < count; begin = end) {
    const int32_t segment = map.segment(image, first + begin);
    for (end = begin + 1; end < count && map.segment(image, first + end) == segment;) ++end;
    if (segment != kNoSegment) runs[found++] = {int32_t(begin), int32_t(end), segment};
  }
  return found;
}

// The sums of several planes over a run of pixels: a run is short, and one plane's sum waits for itself.
template <typename A>
void sum_planes(const A* const (&planes)[kPlanes], const SegmentRun& run, A (&sums)[kPlanes]) {
  for (int64_t k = 0; k < kPlanes; ++k) sums[k] = A(0);
  for (int64_t i = run.begin; i < run.end; ++i) {
    for (int64_t k = 0; k < kPlanes; ++k) sums[k] += planes[k][i];
  }
}

// The sums of neighbouring channels over a run of pixels.
template <typename T>
void sum_rows(const T* rows, int64_t stride, int64_t count, int64_t width, double* sums) {
  acc_t<T> own[kMostChannels];
  for (int64_t c = 0; c < width; ++c) own[c] = acc_t<T>(rows[c]);
  for (int64_t row = 1; row < count; ++row) {
    for (int64_t c = 0; c < width; ++c) own[c] += acc_t<T>(rows[row * stride + c]);
  }
  for (int64_t c = 0; c < width; ++c) sums[c] += double(own[c]);
}

// A group of an image's channels, and its sums and counts by segment.
template <typename T>
struct GroupSums {
  const SegmentMeanPool<T>& args;
  int64_t image, channel, width;
  double* sums;     // [segments, width]
  int64_t* counts;  // [segments]

  void add_tile(int64_t first, int64_t count) const {
    SegmentRun runs[kTile];
    const SegmentRun* const end = runs + find_runs(args.map, image, first, count, runs);
    for (const SegmentRun* run = runs; run < end; ++run) counts[run->segment] += run->end - run->begin;
    args.map.channels_last ? add_rows(first, runs, end) : add_planes(first, count, runs, end);
  }

  void finish() const {
    for (int64_t segment = 0; segment < args.map.segments; ++segment) {
      for (int64_t c = 0; c < width; ++c) {
        args.finish(image, segment, channel + c, sums[segment * width + c], counts[segment]);
      }
    }
  }

 private:
  void add_planes(int64_t first, int64_t count, const SegmentRun* runs, const SegmentRun* end) const {
    using A = acc_t<T>;
    A buffers[kPlanes][kTile], of_run[kPlanes];
    const A* planes[kPlanes];
    for (int64_t c = 0; c < width; c += kPlanes) {
      const int64_t some = std::min(kPlanes, width - c);
      for (int64_t k = 0; k < kPlanes; ++k) {  // those that are too many are the last one again
        const int64_t plane = channel + c + std::min(k, some - 1);
        planes[k] = load_tile(args.features + args.map.element(image, plane, first), count, buffers[k]);
      }
      for (const SegmentRun* run = runs; run < end; ++run) {
        sum_planes(planes, *run, of_run);
        for (int64_t k = 0; k < some; ++k) sums[run->segment * width + c + k] += double(of_run[k]);
      }
    }
  }

  void add_rows(int64_t first, const SegmentRun* runs, const SegmentRun* end) const {
    const T* const features = args.features + args.map.element(image, channel, first);
    const int64_t stride = args.map.channels;
    for (const SegmentRun* run = runs; run < end; ++run) {
      sum_rows(features + run->begin * stride, stride, run->end - run->begin, width, sums + run->segment * width);
    }
  }
};

// The gradient of each segment's pixels, in the order in which the backward takes it: [channels, segments] of planes,
// else [segments, channels]; what belongs to no segment comes last, and has 0.
template <typename T>
T* make_slopes(const SegmentMeanPoolBackward<T>& args, Context& context) {
  const SegmentMap& map = args.map;
  const int64_t rows = map.segments + 1;
  T* const slopes = context.scratch_array<T>(map.batch * rows * map.channels);
  constexpr int64_t kElementsPerTask = 1 << 14;
  parallel_for(map.batch * rows, kElementsPerTask / map.channels + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / rows, row = i % rows;
      const int32_t segment = row < map.segments ? int32_t(row) : kNoSegment;
      const acc_t<T> share = args.share(image, segment);
      T* const first = slopes + (map.channels_last ? i * map.channels : image * rows * map.channels + row);
      const int64_t stride = map.channels_last ? 1 : rows;
      for (int64_t c = 0; c < map.channels; ++c) first[c * stride] = args.slope(image, segment, c, share);
    }
  });
  return slopes;
}

// A tile of the gradient, given its pixels' rows of the image's slopes.
template <typename T>
void copy_rows(const SegmentMeanPoolBackward<T>& args, int64_t image, int64_t first, int64_t count,
               const int32_t* row_of, const T* slopes) {
  const int64_t channels = args.map.channels;
  T* const out = args.grad_features + args.map.element(image, 0, first);
  for (int64_t k = 0; k < count; ++k) std::copy_n(slopes + row_of[k] * channels, channels, out + k * channels);
}

template <typename T>
void pick_planes(const SegmentMeanPoolBackward<T>& args, int64_t image, int64_t first, int64_t count,
                 const int32_t* row_of, const T* slopes) {
  for (int64_t c = 0; c < args.map.channels; ++c) {
    T* const out = args.grad_features + args.map.element(image, c, first);
    const T* const row = slopes + c * (args.map.segments + 1);
    for (int64_t k = 0; k < count; ++k) out[k] = row[row_of[k]];
  }
}

}  // namespace

// Reads the features once, and 8 bytes a pixel for every task's channels.
template <typename T>
void segment_mean_pool(const SegmentMeanPool<T>& args, Context& context) {
  const SegmentMap& map = args.map;
  const int64_t wanted = map.batch * map.channels / (num_threads() * kTasksPerThread);
  const int64_t group_size = std::min(map.channels, std::clamp(wanted, kLeastChannels, kMostChannels));
  const int64_t groups = ceil_div(map.channels, group_size), tasks = map.batch * groups;
  const int64_t workers = std::min(tasks, num_threads()), table = map.segments * group_size;
  double* const sums = context.scratch_array<double>(workers * table);
  int64_t* const counts = context.scratch_array<int64_t>(workers * map.segments);
  parallel_workers(workers, [&](const auto& next, int64_t worker) {
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t channel = task % groups * group_size;
      const GroupSums<T> group{args,
                               task / groups,
                               channel,
                               std::min(group_size, map.channels - channel),
                               sums + worker * table,
                               counts + worker * map.segments};
      std::fill_n(group.sums, table, 0.0);
      std::fill_n(group.counts, map.segments, int64_t(0));
      for (int64_t first = 0; first < map.pixels; first += kTile) {
        group.add_tile(first, std::min(kTile, map.pixels - first));
      }
      group.finish();
    }
  });
}

// Writes the gradient once; the slopes that it picks from stay in the caches.
template <typename T>
void segment_mean_pool_backward(const SegmentMeanPoolBackward<T>& args, Context& context) {
  const SegmentMap& map = args.map;
  const T* const slopes = make_slopes(args, context);
  const int64_t tiles = ceil_div(map.pixels, kTile), rows = map.segments + 1;
  parallel_for(map.batch * tiles, 1, [&](int64_t begin, int64_t end) {
    int32_t row_of[kTile];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / tiles, first = i % tiles * kTile, count = std::min(kTile, map.pixels - first);
      for (int64_t k = 0; k < count; ++k) {
        const int32_t segment = map.segment(image, first + k);
        row_of[k] = segment == kNoSegment ? int32_t(map.segments) : segment;
      }
      const T* const of_image = slopes + image * rows * map.channels;
      map.channels_last ? copy_rows(args, image, first, count, row_of, of_image)
                        : pick_planes(args, image, first, count, row_of, of_image);
    }
  });
}

LDIE_INSTANTIATE(segment_mean_pool, SegmentMeanPool);
LDIE_INSTANTIATE(segment_mean_pool_backward, SegmentMeanPoolBackward);

}  // namespace ldie::editing
