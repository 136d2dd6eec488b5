// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/lanes_cpu.h"
#include "core/limits.h"
#include "core/tiles_cpu.h"
#include "heatmap/heatmap_peaks.h"

namespace ldie::heatmap {
namespace {

struct Better {
  template <typename A>
  bool operator()(const Peak<A>& a, const Peak<A>& b) const {
    return better(a, b);
  }
};

// The k best of the peaks offered so far, in memory for `capacity` of them. Offers come by rising index, so that a
// later peak must score more than the k-th best to matter.
template <typename A>
class BestPeaks {
 public:
  BestPeaks(Peak<A>* peaks, int64_t k, int64_t capacity) : peaks_(peaks), k_(k), capacity_(capacity) {}

  // Empties the list for peaks above a threshold.
  void start(A threshold) {
    threshold_ = threshold;
    count_ = 0;
  }

  A threshold() const { return threshold_; }
  bool full() const { return count_ >= k_; }

  void offer(A score, int64_t index) {
    if (count_ == capacity_) trim();
    peaks_[count_++] = {score, index};
  }

  // Those of another list, which may lie behind this one's in the same memory.
  void append(const Peak<A>* peaks, int64_t count) {
    std::copy_n(peaks, count, peaks_ + count_);
    count_ += count;
  }

  // Leaves the k best, in no order, and says how many there are.
  int64_t trim() {
    if (count_ > k_) {
      std::nth_element(peaks_, peaks_ + (k_ - 1), peaks_ + count_, Better());
      count_ = k_;
      threshold_ = peaks_[k_ - 1].score;
    }
    return count_;
  }

 private:
  Peak<A>* peaks_;
  int64_t k_, capacity_, count_ = 0;
  A threshold_ = -kInfinite<A>;
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

constexpr int64_t kStep = 16;  // cells looked at at once

template <typename T>
bool any_above(const T* values, acc_t<T> threshold) {
  using A = acc_t<T>;
  A converted[kStep];
  const A* const v = load_tile(values, kStep, converted);
  auto any = load_lanes(v) > threshold;
  for (int64_t i = kLanes<A>; i < kStep; i += kLanes<A>) any |= load_lanes(v + i) > threshold;
  return any_lane(any);
}

// Bit i says whether condition(i) holds; without branches, so that it is computed in vectors.
template <typename Condition>
uint32_t bits_of_step(const Condition& condition) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < kStep; ++i) bits |= uint32_t(condition(i)) << i;
  return bits;
}

template <typename T>
void scan_line(const Line<T>& line, int64_t first_index, BestPeaks<acc_t<T>>& best) {
  using A = acc_t<T>;
  const auto look_at = [&](int64_t x) {
    if (!(A(line.here[x]) > best.threshold())) return;
    const int64_t left = std::max<int64_t>(0, x - 1), right = std::min(line.width - 1, x + 1);
    if (line.window(left, x, right).is_peak()) best.offer(A(line.here[x]), first_index + x);
  };
  const int64_t begin = 1, end = line.width - 1;  // of the cells that have neighbours on both sides
  if (end - begin < kStep) {
    for (int64_t x = 0; x < line.width; ++x) look_at(x);
    return;
  }
  look_at(0);
  for (int64_t next = begin; next < end; next += kStep) {
    const int64_t x = std::min(next, end - kStep);  // the last step has cells that the one before it had
    const A threshold = best.threshold();
    if (!any_above(line.here + x, threshold)) continue;
    uint32_t found = bits_of_step([&](int64_t i) {
      return (A(line.here[x + i]) > threshold) & line.window(x + i - 1, x + i, x + i + 1).is_peak();
    });
    found >>= next - x;
    for (; found != 0; found &= found - 1) {
      const int64_t at = next + __builtin_ctz(found);
      best.offer(A(line.here[at]), first_index + at);
    }
  }
  look_at(end);
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

// Blocks of cells, of which only the greatest score is looked at.
constexpr int64_t kBlockLines = 16, kBlockColumns = 4, kBlocksAcross = 64;

// The greatest scores of up to kBlocksAcross blocks side by side; NaN is passed over.
template <typename T>
void greatest_of_blocks(const T* scores, int64_t width, int64_t across, acc_t<T>* greatest) {
  using A = acc_t<T>;
  A columns[kBlocksAcross * kBlockColumns];
  std::fill_n(columns, across * kBlockColumns, -kInfinite<A>);
  for (int64_t y = 0; y < kBlockLines; ++y) {
    const T* const line = scores + y * width;
    for (int64_t x = 0; x < across * kBlockColumns; ++x) columns[x] = A(line[x]) > columns[x] ? A(line[x]) : columns[x];
  }
  for (int64_t i = 0; i < across; ++i) {
    const A* const four = columns + i * kBlockColumns;
    greatest[i] = std::max(std::max(four[0], four[1]), std::max(four[2], four[3]));
  }
}

// What the k-th best of the peaks on these lines scores, guessed from below: some more blocks than k have a greater
// greatest score, and in most of them that is a peak. -infinity where there are too few blocks to tell.
template <typename T>
acc_t<T> guess_threshold(const T* scores, int64_t lines, int64_t width, int64_t k) {
  using A = acc_t<T>;
  constexpr int64_t kMostBlocks = 2048;
  const int64_t above = k + k / 4 + 4, wanted = std::min(kMostBlocks, 4 * above);
  A greatest[kMostBlocks + kBlocksAcross];
  int64_t blocks = 0;
  for (int64_t line = 0; line + kBlockLines <= lines; line += kBlockLines) {
    for (int64_t left = 0; left + kBlockColumns <= width && blocks < wanted; left += kBlocksAcross * kBlockColumns) {
      const int64_t across = std::min(kBlocksAcross, (width - left) / kBlockColumns);
      greatest_of_blocks(scores + line * width + left, width, across, greatest + blocks);
      blocks += across;
    }
  }
  if (blocks <= above) return -kInfinite<A>;
  std::nth_element(greatest, greatest + above, greatest + blocks, std::greater<A>());
  return greatest[above];
}

// The k best peaks of lines [begin, end) of a list's planes. A good threshold from the first line on leaves little to
// test; where the guess was too high, what it passed over is looked at after all.
template <typename T>
void find_best(const HeatmapPeaks<T>& args, int64_t list, int64_t begin, int64_t end, BestPeaks<acc_t<T>>& best) {
  const T* const scores = args.scores + list * args.planes_per_list() * args.area();
  const acc_t<T> guess = guess_threshold(scores + begin * args.width, end - begin, args.width, args.k);
  best.start(guess);
  scan_lines(args, list, begin, end, best);
  if (best.full() || guess == -kInfinite<acc_t<T>>) return;
  best.start(-kInfinite<acc_t<T>>);
  scan_lines(args, list, begin, end, best);
}

// Writes the k best of a list's chunks, each `capacity` peaks after the one before it.
template <typename T>
void join(const HeatmapPeaks<T>& args, int64_t list, Peak<acc_t<T>>* first, int64_t capacity, const int64_t* counts,
          int64_t chunks) {
  BestPeaks<acc_t<T>> best(first, args.k, chunks * capacity);
  for (int64_t c = 0; c < chunks; ++c) best.append(first + c * capacity, counts[c]);
  const int64_t found = best.trim();
  std::sort(first, first + found, Better());
  for (int64_t slot = 0; slot < found; ++slot) args.write(list, slot, first[slot]);
  for (int64_t slot = found; slot < args.k; ++slot) args.write_unused(list, slot);
}

}  // namespace

// Reads the scores once from memory, and their first lines again from the cache: with a guess of the k-th best peak,
// few cells pass it, so nearly every block of cells costs one comparison, and the floor is the bandwidth of the reads.
// Chunks of lines keep a list each, joined at the end; the longer the chunks, the fewer guesses.
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
      find_best(args, list, first, std::min(first + lines_per_chunk, lines), best);
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
