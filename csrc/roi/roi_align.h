// SPDX-License-Identifier: Apache-2.0
// RoIAlign over a pyramid of feature maps (He et al., Mask R-CNN, 2017, section 3; levels: Lin et al., FPN, 2017,
// eq. 1). Each RoI reads one level; a bin is the mean of grid_y x grid_x bilinear samples. The mean of a product of
// axis weights is separable, so that a bin is
//   output[p, q] = sum_y wy[p, y] sum_x wx[q, x] feature[y, x],   wy[p, y] = sum of the samples' tap weights / grid_y
// and the backward is its transpose. A single feature map is a pyramid of one level.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"

namespace ldie::roi {

constexpr int kMaxLevels = 8;

// Samples of an adaptive grid along one axis of a bin: exact up to bins of this many cells, coarser above, so that no
// box can make a kernel run for ever.
constexpr int32_t kMaxGrid = 1 << 14;

// How the level of a box is found; the three differ in where they guard log2 against 0 and rounding.
enum class LevelRule { torchvision, detectron2, mmdet };
constexpr LevelRule last_option(LevelRule) { return LevelRule::mmdet; }

template <typename A>
struct LevelChoice {
  LevelRule rule;
  A canonical_scale, canonical_level;  // a box of this side (the square root of its area) goes to this level
  A finest_scale;                      // mmdet: twice this side is where the second level begins
  int32_t first, count;                // the pyramid's levels: first .. first + count - 1

  // Index into the pyramid. Areas of 0 or below and NaN go to the finest level.
  LDIE_HD int32_t operator()(A area) const {
    if (count == 1 || !(area > A(0))) return 0;
    const A side = std::sqrt(area);
    A level = A(0);
    switch (rule) {
      case LevelRule::torchvision:
        level = std::floor(canonical_level + std::log2(side / canonical_scale) + A(1e-6)) - A(first);
        break;
      case LevelRule::detectron2:
        level = std::floor(canonical_level + std::log2(side / canonical_scale + A(1e-8))) - A(first);
        break;
      case LevelRule::mmdet: level = std::floor(std::log2(side / finest_scale + A(1e-6)));
    }
    if (!(level > A(0))) return 0;
    return level < A(count) ? int32_t(level) : count - 1;
  }
};

// One sample's two cells along an axis, with their bilinear weights divided by the grid.
template <typename A>
struct AxisTap {
  int32_t low, high;
  A low_weight, high_weight;
};

// Where one sample falls between two cells along an axis.
template <typename A>
struct AxisPlace {
  int32_t low, high;
  A fraction;
};

// One axis of a RoI on its map.
template <typename A>
struct RoiAxis {
  A start, bin;   // in cells
  int32_t grid;   // samples in a bin; 0 for an adaptive grid over an extent of 0 or below
  int32_t cells;  // of the map

  LDIE_HD A position(int64_t bin_index, int32_t sample) const {
    return start + A(bin_index) * bin + (A(sample) + A(0.5)) * bin / A(grid);
  }

  // False for a sample that lies more than a cell outside the map, which counts as 0.
  LDIE_HD bool place(int64_t bin_index, int32_t sample, AxisPlace<A>& result) const {
    A at = position(bin_index, sample);
    if (!(at >= A(-1) && at <= A(cells)) || cells == 0) return false;
    if (at < A(0)) at = A(0);
    const int32_t low = int32_t(at);
    const bool last = low >= cells - 1;
    result = {last ? cells - 1 : low, last ? cells - 1 : low + 1, last ? A(0) : at - A(low)};
    return true;
  }

  LDIE_HD bool tap(int64_t bin_index, int32_t sample, AxisTap<A>& result) const {
    AxisPlace<A> at;
    if (!place(bin_index, sample, at)) return false;
    result = {at.low, at.high, (A(1) - at.fraction) / A(grid), at.fraction / A(grid)};
    return true;
  }
};

// Cells [begin, end) along an axis.
struct CellRange {
  int32_t begin, end;
  LDIE_HD int32_t count() const { return end - begin; }
  LDIE_HD bool meets(const CellRange& other) const { return begin < other.end && other.begin < end; }
};

// A little more than what the samples of all bins can read: positions round, by a few units of the last place of their
// largest term.
template <typename A>
LDIE_HD CellRange cells_read(const RoiAxis<A>& axis, int64_t bins) {
  const A extent = axis.bin * A(bins), size = A(axis.cells);
  const A margin = A(1) + (std::fabs(axis.start) + std::fabs(extent)) * A(1e-6);
  const A low = std::floor(axis.start + (extent < A(0) ? extent : A(0)) - margin);
  const A high = std::floor(axis.start + (extent < A(0) ? A(0) : extent) + margin) + A(2);
  return {low > A(0) ? low < size ? int32_t(low) : axis.cells : 0,
          high > A(0) ? high < size ? int32_t(high) : axis.cells : 0};
}

// Samples [begin, end) of a bin along an axis.
struct SampleRange {
  int32_t begin, end;
};

template <typename A>
struct alignas(2 * sizeof(A)) CellWeight {  // one load
  int32_t cell;
  A weight;
};

// Merges taps that share a cell and calls emit(CellWeight) for each cell, in the order of the first taps, until that
// returns false. Positions along an axis only rise or only fall, so that a cell is among the last three if it has been
// met at all.
template <typename A, typename Emit>
class TapMerger {
 public:
  LDIE_HD explicit TapMerger(Emit& emit) : emit_(emit) {}

  LDIE_HD bool add(int32_t cell, A weight) {
    for (int k = kKept - 1; k >= 0; --k) {
      if (last_[k].cell == cell) {
        last_[k].weight += weight;
        return true;
      }
    }
    const CellWeight<A> oldest = last_[0];
    for (int k = 1; k < kKept; ++k) last_[k - 1] = last_[k];
    last_[kKept - 1] = {cell, weight};
    return oldest.cell < 0 || emit_(oldest);
  }

  LDIE_HD void finish() {
    for (const CellWeight<A>& tap : last_) {
      if (tap.cell >= 0 && !emit_(tap)) return;
    }
  }

 private:
  static constexpr int kKept = 3;
  Emit& emit_;
  CellWeight<A> last_[kKept] = {{-1, A(0)}, {-1, A(0)}, {-1, A(0)}};  // the oldest first
};

// The cells that samples of a bin read, each once, with the sum of its weights.
template <typename A, typename Emit>
LDIE_HD void merge_taps(const RoiAxis<A>& axis, int64_t bin, const SampleRange& samples, Emit& emit) {
  TapMerger<A, Emit> merger(emit);
  for (int32_t sample = samples.begin; sample < samples.end; ++sample) {
    AxisTap<A> tap;
    if (!axis.tap(bin, sample, tap)) continue;
    if (!merger.add(tap.low, tap.low_weight)) return;
    if (tap.high_weight > A(0) && !merger.add(tap.high, tap.high_weight)) return;
  }
  merger.finish();
}

// `begin` and `end` are in cells; without `aligned` pixel centres stand at 0 and a RoI is at least 1 cell wide.
template <typename A>
LDIE_HD RoiAxis<A> roi_axis(A begin, A end, int64_t bins, int32_t cells, bool aligned, int32_t sampling_ratio) {
  const A shift = aligned ? A(0.5) : A(0);
  RoiAxis<A> result;
  result.start = begin - shift;
  A extent = (end - shift) - result.start;
  if (!aligned && extent < A(1)) extent = A(1);
  result.bin = extent / A(bins);
  result.cells = cells;
  result.grid = sampling_ratio;
  if (sampling_ratio <= 0) {
    const A wanted = std::ceil(result.bin);
    result.grid = !(wanted > A(0)) ? 0 : wanted < A(kMaxGrid) ? int32_t(wanted) : kMaxGrid;
  }
  return result;
}

// Where one RoI reads. A RoI without an image - a batch index out of range, a coordinate that is NaN or infinite - has
// output 0 and passes no gradient on.
template <typename A>
struct Roi {
  int64_t image = -1;
  int32_t level = 0;
  RoiAxis<A> y{}, x{};
  LDIE_HD bool valid() const { return image >= 0; }
};

template <typename A>
struct RoiLevel {
  int32_t height, width;
  A scale;
  LDIE_HD int64_t cells() const { return int64_t(height) * width; }
};

template <typename V>
struct PerLevel {
  V values[kMaxLevels];
  LDIE_HD const V& operator[](int64_t level) const { return values[level]; }
};

// Everything about a call but the features themselves: common to forward and backward, and to every dtype of the
// features. Boxes come in the type the coordinates are computed in.
template <typename A>
struct RoiLayout {
  const A* boxes;          // [rois, 4] x1 y1 x2 y2, or [rois, 5] with the image's index first when offsets is null
  const int64_t* offsets;  // [batch + 1], or null
  int64_t rois, batch, channels;
  int64_t bins_y, bins_x;
  int32_t sampling_ratio;  // samples in a bin along each axis; 0 or below: one per cell, rounded up
  bool aligned;            // pixel centres at 0.5; without it a RoI is at least 1 cell wide
  bool channels_last;      // features and output are [.., height, width, channels] in memory
  LevelChoice<A> choice;
  PerLevel<RoiLevel<A>> levels;

  LDIE_HD int64_t bins() const { return bins_y * bins_x; }

  // The image that owns a RoI, -1 for none.
  LDIE_HD int64_t image(int64_t row) const {
    if (!offsets) {
      const A index = boxes[5 * row];
      return index > A(-1) && index < A(batch) ? int64_t(index) : -1;
    }
    int64_t low = 0, high = batch;  // the first image that ends after the row
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (offsets[middle + 1] > row) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low < batch && offsets[low] <= row ? low : -1;
  }

  LDIE_HD RoiAxis<A> axis(A begin, A end, A scale, int64_t axis_bins, int32_t cells) const {
    return roi_axis(begin * scale, end * scale, axis_bins, cells, aligned, sampling_ratio);
  }

  LDIE_HD Roi<A> roi(int64_t row) const {
    const A* const box = boxes + (offsets ? 4 * row : 5 * row + 1);
    Roi<A> result;
    result.level = choice((box[2] - box[0]) * (box[3] - box[1]));
    const RoiLevel<A> level = levels[result.level];
    result.x = axis(box[0], box[2], level.scale, bins_x, level.width);
    result.y = axis(box[1], box[3], level.scale, bins_y, level.height);
    const A total = result.x.start + result.x.bin + result.y.start + result.y.bin;
    const bool finite = total - total == A(0);
    result.image = finite ? image(row) : -1;
    return result;
  }
};

template <typename T>
struct RoiAlign {
  RoiLayout<acc_t<T>> layout;
  PerLevel<const T*> features;  // each [batch, channels, height, width]
  T* output;                    // [rois, channels, bins_y, bins_x], written
};

// Elements from one to the next along each side of the gradients of the outputs.
struct GradStrides {
  int64_t roi, channel, y, x;
};

template <typename T>
struct RoiAlignBackward {
  RoiLayout<acc_t<T>> layout;
  const T* grad_output;        // [rois, channels, bins_y, bins_x]
  GradStrides strides;         // any on the CPU; on CUDA those of the layout
  PerLevel<T*> grad_features;  // each [batch, channels, height, width], written
};

template <typename T>
void roi_align(const RoiAlign<T>& args, Context& context);
template <typename T>
void roi_align_backward(const RoiAlignBackward<T>& args, Context& context);

}  // namespace ldie::roi
