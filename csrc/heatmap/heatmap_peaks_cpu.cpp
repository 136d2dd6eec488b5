// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "heatmap/heatmap_peaks.h"

namespace ldie::heatmap {
namespace {

// The k best of the peaks offered so far, in memory for `capacity` of them. Offers come by rising index, so that a
// later peak must score more than the k-th best to matter.
template <typename A>
class BestPeaks {
 public:
  BestPeaks(Peak<A>* peaks, int64_t k, int64_t capacity) : peaks_(peaks), k_(k), capacity_(capacity) {}

  A threshold() const { return threshold_; }

  void offer(A score, int64_t index) {
    if (count_ == capacity_) trim();
    peaks_[count_++] = {score, index};
  }

  // Leaves the k best, in no order, and says how many there are.
  int64_t trim() {
    if (count_ > k_) {
      std::nth_element(peaks_, peaks_ + (k_ - 1), peaks_ + count_, better<A>);
      count_ = k_;
      threshold_ = peaks_[k_ - 1].score;
    }
    return count_;
  }

 private:
  Peak<A>* peaks_;
  int64_t k_, capacity_, count_ = 0;
  A threshold_ = -A(INFINITY);
};

// A line of a map and the lines above and below it (itself where there is none, which changes no comparison).
template <typename T>
struct Line {
  const T *above, *here, *below;
  int64_t width;

  Window3x3<acc_t<T>> window(int64_t left, int64_t x, int64_t right) const {
    using A = acc_t<T>;
    return {{A(above[left]), A(above[x]), A(above[right])},
            {A(here[left]), A(here[x]), A(here[right])},
            {A(below[left]), A(below[x]), A(below[right])}};
  }
};

constexpr int64_t kBlock = 64;  // cells that one look at the threshold can skip

template <typename T>
bool any_above(const T* values, int64_t count, acc_t<T> threshold) {
  int32_t any = 0;
  for (int64_t i = 0; i < count; ++i) any |= int32_t(acc_t<T>(values[i]) > threshold);
  return any != 0;
}

template <typename T>
void scan_line(const Line<T>& line, int64_t first_index, BestPeaks<acc_t<T>>& best) {
  using A = acc_t<T>;
  int32_t found[kBlock];
  for (int64_t begin = 0; begin < line.width; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, line.width);
    const A threshold = best.threshold();
    if (!any_above(line.here + begin, end - begin, threshold)) continue;
    const auto test = [&](int64_t left, int64_t x, int64_t right) {
      found[x - begin] = int32_t(A(line.here[x]) > threshold) & int32_t(line.window(left, x, right).is_peak());
    };
    for (int64_t x = std::max<int64_t>(begin, 1); x < std::min(end, line.width - 1); ++x) test(x - 1, x, x + 1);
    if (begin == 0) test(0, 0, std::min<int64_t>(1, line.width - 1));
    if (end == line.width) test(std::max<int64_t>(0, end - 2), end - 1, end - 1);
    for (int64_t x = begin; x < end; ++x) {
      if (found[x - begin]) best.offer(A(line.here[x]), first_index + x);
    }
  }
}

// Lines [begin, end) of a list's planes, counted through them.
template <typename T>
void scan_lines(const HeatmapPeaks<T>& args, int64_t list, int64_t begin, int64_t end, BestPeaks<acc_t<T>>& best) {
  const T* const scores = args.scores + list * args.planes_per_list() * args.area();
  for (int64_t i = begin; i < end; ++i) {
    const T* const here = scores + i * args.width;
    const int64_t y = i % args.height;
    scan_line(
        Line<T>{y > 0 ? here - args.width : here, here, y + 1 < args.height ? here + args.width : here, args.width},
        i * args.width, best);
  }
}

// Writes the k best of a list's chunks, each `capacity` peaks after the one before it.
template <typename T>
void join(const HeatmapPeaks<T>& args, int64_t list, Peak<acc_t<T>>* first, int64_t capacity, const int64_t* counts,
          int64_t chunks) {
  Peak<acc_t<T>>* last = first;
  for (int64_t c = 0; c < chunks; ++c) last = std::copy_n(first + c * capacity, counts[c], last);
  const int64_t found = std::min<int64_t>(args.k, last - first);
  std::partial_sort(first, first + found, last, better<acc_t<T>>);
  for (int64_t slot = 0; slot < found; ++slot) args.write(list, slot, first[slot]);
  for (int64_t slot = found; slot < args.k; ++slot) args.write_unused(list, slot);
}

}  // namespace

// Reads the scores once: after the first lines a peak rarely passes the k-th best, so nearly every block of cells costs
// one comparison with it, and the floor is the bandwidth of the reads. Chunks of lines keep a list each, joined at
// the end; the longer the chunks, the fewer first lines.
template <typename T>
void heatmap_peaks(const HeatmapPeaks<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr int64_t kLeastCellsPerChunk = 1 << 16, kChunksPerThread = 4;
  const int64_t lines = args.planes_per_list() * args.height;
  const int64_t share = args.lists() * lines * args.width / (kChunksPerThread * num_threads());
  const int64_t lines_per_chunk = std::min(lines, std::max(kLeastCellsPerChunk, share) / (args.width + 1)) + 1;
  const int64_t chunks = ceil_div(lines, lines_per_chunk);
  const int64_t cells = lines_per_chunk * args.width, capacity = args.k < cells / 2 ? 2 * args.k : cells;
  Peak<A>* const peaks = context.scratch_array<Peak<A>>(args.lists() * chunks * capacity);
  int64_t* const counts = context.scratch_array<int64_t>(args.lists() * chunks);

  parallel_for(args.lists() * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t list = i / chunks, first = i % chunks * lines_per_chunk;
      BestPeaks<A> best(peaks + i * capacity, args.k, capacity);
      scan_lines(args, list, first, std::min(first + lines_per_chunk, lines), best);
      counts[i] = best.trim();
    }
  });
  const int64_t lists_per_task = 1 + 1024 / args.k;
  parallel_for(args.lists(), lists_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      join(args, i, peaks + i * chunks * capacity, capacity, counts + i * chunks, chunks);
  });
}

LDIE_INSTANTIATE(heatmap_peaks, HeatmapPeaks);

}  // namespace ldie::heatmap
