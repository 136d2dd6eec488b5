// SPDX-License-Identifier: Apache-2.0
// Masks of boxes drawn on their image: bilinear interpolation and threshold (Mask R-CNN, arXiv:1703.06870). Under both
// rules a mask stands in a frame of zeros one cell wide; cells are counted with the frame. Operations are fused and
// ordered as in PyTorch's CPU kernels, so that values fall on the same side of the threshold.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"
#include "masks/mask_output.h"

namespace ldie::masks {

enum class PasteRule {
  torchvision,  // boxes grow by the frame and are cut to whole pixels; F.interpolate; above the threshold
  detectron2,   // F.grid_sample at the centres of pixels; at or above the threshold
};
constexpr PasteRule last_option(PasteRule) { return PasteRule::detectron2; }

// What a pixel reads along one axis: the cells low and low + 1. A pixel outside of the box reads none.
template <typename A>
struct PasteTap {
  int32_t low;
  A low_weight, high_weight;
  static LDIE_HD PasteTap none() { return {-1, A(0), A(0)}; }
  LDIE_HD bool reached() const { return low >= 0; }
};

// One axis of a box on the image; the mask has `cells` along it, without the frame.
template <typename A>
class PasteAxis {
 public:
  LDIE_HD PasteAxis(PasteRule rule, A begin, A end, int64_t cells) : rule_(rule), cells_(cells) {
    if (rule == PasteRule::detectron2) {
      extent_ = end - begin;
      begin_ = begin + (extent_ - extent_);  // NaN, which reaches no pixel, unless the box is finite
    } else {
      cut_to_pixels(begin, end);
    }
  }

  LDIE_HD PasteTap<A> tap(int64_t pixel) const {
    return rule_ == PasteRule::detectron2 ? sampled_tap(pixel) : resized_tap(pixel);
  }

 private:
  // Coordinates that are not finite leave no pixel to reach; nor does a box whose end lies before its begin.
  LDIE_HD void cut_to_pixels(A begin, A end) {
    const A half = (end - begin) * A(0.5) * A(double(cells_ + 2) / double(cells_)), centre = (end + begin) * A(0.5);
    first_ = truncate(centre - half);
    last_ = half - half == A(0) ? truncate(centre + half) : first_ - 1;
    const int64_t pixels = last_ - first_ + 1;
    scale_ = A(cells_ + 2) / A(pixels > 1 ? pixels : 1);
  }
  LDIE_HD static int64_t truncate(A value) {
    constexpr A kFar = A(int64_t(1) << 40);
    return int64_t(value > kFar ? kFar : value > -kFar ? value : -kFar);
  }

  LDIE_HD PasteTap<A> resized_tap(int64_t pixel) const {
    if (pixel < first_ || pixel > last_) return PasteTap<A>::none();
    const A position = std::fma(scale_, A(pixel - first_) + A(0.5), A(-0.5));
    const A at = position > A(0) ? position : A(0);
    if (!(at < A(cells_ + 1))) return PasteTap<A>::none();  // on the frame
    const A fraction = at - A(int64_t(at));
    return {int32_t(at), A(1) - fraction, fraction};
  }

  LDIE_HD PasteTap<A> sampled_tap(int64_t pixel) const {
    const A grid = (A(pixel) + A(0.5) - begin_) / extent_ * A(2) - A(1);
    const A at = std::fma(grid + A(1), A(cells_) / A(2), A(-0.5));    // in cells without the frame
    if (!(at > A(-1) && at < A(cells_))) return PasteTap<A>::none();  // and for NaN
    const A low = std::floor(at), fraction = at - low;
    return {int32_t(low) + 1, A(1) - fraction, fraction};
  }

  PasteRule rule_;
  int64_t cells_;
  A begin_, extent_;      // detectron2
  int64_t first_, last_;  // torchvision: pixels
  A scale_;               // torchvision: cells per pixel
};

// The four cells that a pixel reads.
template <typename A>
struct PasteCells {
  A upper_left, upper_right, lower_left, lower_right;
};

template <PasteRule rule, typename A>
LDIE_HD bool paste_pixel(const PasteCells<A>& cells, const PasteTap<A>& y, const PasteTap<A>& x, A threshold) {
  if (rule == PasteRule::detectron2) {
    A value = cells.upper_left * (y.low_weight * x.low_weight);
    value = std::fma(cells.upper_right, y.low_weight * x.high_weight, value);
    value = std::fma(cells.lower_left, y.high_weight * x.low_weight, value);
    return std::fma(cells.lower_right, y.high_weight * x.high_weight, value) >= threshold;
  }
  const A upper = std::fma(cells.upper_left, x.low_weight, cells.upper_right * x.high_weight);
  const A lower = std::fma(cells.lower_left, x.low_weight, cells.lower_right * x.high_weight);
  return std::fma(upper, y.low_weight, lower * y.high_weight) > threshold;
}

template <typename T>
struct PasteMasks {
  const T* masks;         // [count, rows, columns]
  const acc_t<T>* boxes;  // [count, 4] x1 y1 x2 y2
  int64_t count, rows, columns;
  double threshold;  // above 0
  PasteRule rule;
  MaskOutput out;

  LDIE_HD PasteAxis<acc_t<T>> axis_x(int64_t n) const { return {rule, boxes[4 * n], boxes[4 * n + 2], columns}; }
  LDIE_HD PasteAxis<acc_t<T>> axis_y(int64_t n) const { return {rule, boxes[4 * n + 1], boxes[4 * n + 3], rows}; }
};

template <typename T>
void paste_masks(const PasteMasks<T>& args, Context& context);

}  // namespace ldie::masks
