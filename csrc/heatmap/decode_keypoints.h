// SPDX-License-Identifier: Apache-2.0
// Where the heatmap of a box is greatest, in the image (Mask R-CNN's inference, as torchvision's
// heatmaps_to_keypoints): the map is resized to whole pixels of the box by bicubic interpolation (Keys 1981, a = -0.75,
// pixel centres at .5, border repeated), and the first greatest pixel taken.
//
// The resized map is never made. Each of its pixels lies in a cell between four map values and is a weighted sum of the
// 4 x 4 values around; cells whose bound stays below what was found already are passed over, which is nearly all.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/box.h"
#include "core/context.h"
#include "core/limits.h"

namespace ldie::heatmap {

constexpr int kTaps = 4;
// The resized map has at most this many pixels a side.
constexpr int64_t kMostPixels = 1 << 14;

// A side of a box and its resized map.
template <typename A>
struct ResizedAxis {
  int64_t inputs, outputs;
  A low, step;      // where the box begins, and its length a pixel
  A input_a_pixel;  // inputs / outputs

  LDIE_HD ResizedAxis(A low, A high, int64_t inputs) : inputs(inputs), low(low) {
    const A length = high - low > A(1) ? high - low : A(1), pixels = std::ceil(length);
    outputs = pixels < A(kMostPixels) ? int64_t(pixels) : kMostPixels;
    step = (high - low == high - low ? length : high - low) / A(outputs);
    input_a_pixel = A(inputs) / A(outputs);
  }

  LDIE_HD A source(int64_t pixel) const { return input_a_pixel * (A(pixel) + A(0.5)) - A(0.5); }
  // Cell c lies between inputs c - 1 and c; there is one before the first input and one after the last.
  LDIE_HD int64_t cells() const { return inputs + 1; }
  LDIE_HD int64_t cell(int64_t pixel) const { return int64_t(std::floor(source(pixel))) + 1; }
  // The first pixel in this cell or a later one.
  LDIE_HD int64_t first_pixel(int64_t of_cell) const {
    const A guess = std::ceil((A(of_cell) - A(0.5)) / input_a_pixel - A(0.5));
    int64_t pixel = guess > A(0) ? guess < A(outputs) ? int64_t(guess) : outputs : 0;
    while (pixel > 0 && cell(pixel - 1) >= of_cell) --pixel;
    while (pixel < outputs && cell(pixel) < of_cell) ++pixel;
    return pixel;
  }
  LDIE_HD A in_image(int64_t pixel) const { return (A(pixel) + A(0.5)) * step + low; }
};

// The four weights of a pixel along an axis.
template <typename A>
struct CubicWeights {
  A w0, w1, w2, w3;

  LDIE_HD explicit CubicWeights(A t) : w0(far(t + 1)), w1(near(t)), w2(near(1 - t)), w3(far(2 - t)) {}
  LDIE_HD A sum(A a, A b, A c, A d) const { return w0 * a + w1 * b + w2 * c + w3 * d; }

 private:
  static constexpr A kA = A(-0.75);
  LDIE_HD static A near(A x) { return ((kA + 2) * x - (kA + 3)) * x * x + 1; }
  LDIE_HD static A far(A x) { return ((kA * x - 5 * kA) * x + 8 * kA) * x - 4 * kA; }
};

template <typename A>
struct ResizedPeak {
  A value = kNotANumber<A>;
  int64_t pixel = 0;  // row * width + column of the resized map

  LDIE_HD bool below(A other, int64_t at) const {
    return value < other || (value == other && at < pixel) || (value != value && other == other);
  }
  LDIE_HD void raise(A other, int64_t at) {
    if (below(other, at)) *this = {other, at};
  }
};

// The 4 x 4 values around a cell.
template <typename A>
struct CellValues {
  A values[kTaps][kTaps];

  LDIE_HD A across(int row, const CubicWeights<A>& w) const {
    return w.sum(values[row][0], values[row][1], values[row][2], values[row][3]);
  }
  // The greatest pixel of the cell.
  LDIE_HD void search(const ResizedAxis<A>& y_axis, const ResizedAxis<A>& x_axis, int64_t row, int64_t column,
                      ResizedPeak<A>& peak) const {
    const int64_t first = x_axis.first_pixel(column), last = x_axis.first_pixel(column + 1);
    const int64_t bottom = first < last ? y_axis.first_pixel(row + 1) : 0;
    for (int64_t y = first < last ? y_axis.first_pixel(row) : 0; y < bottom; ++y) {
      const CubicWeights<A> down(y_axis.source(y) - A(row - 1));
      for (int64_t x = first; x < last; ++x) {
        const CubicWeights<A> w(x_axis.source(x) - A(column - 1));
        const A value = down.sum(across(0, w), across(1, w), across(2, w), across(3, w));
        peak.raise(value, y * x_axis.outputs + x);
      }
    }
  }
};

template <typename T>
struct DecodeKeypoints {
  const T* heatmaps;                      // [boxes, keypoints, height, width]
  const T* boxes;                         // [boxes, 4] x1 y1 x2 y2
  int64_t count, per_box, height, width;  // count: heatmaps
  bool softmax;                           // score e^greatest / sum e^x over the map, else the greatest value
  T* keypoints;                           // [boxes, keypoints, 3] x y 1
  T* scores;                              // [boxes, keypoints]

  LDIE_HD const T* heatmap(int64_t i) const { return heatmaps + i * height * width; }
  LDIE_HD ResizedAxis<acc_t<T>> x_axis(int64_t i) const {
    const Box<acc_t<T>> box = load_box(boxes, i / per_box);
    return {box.x1, box.x2, width};
  }
  LDIE_HD ResizedAxis<acc_t<T>> y_axis(int64_t i) const {
    const Box<acc_t<T>> box = load_box(boxes, i / per_box);
    return {box.y1, box.y2, height};
  }
  LDIE_HD void write(int64_t i, const ResizedPeak<acc_t<T>>& peak, acc_t<T> score) const {
    const ResizedAxis<acc_t<T>> across = x_axis(i);
    keypoints[3 * i] = T(across.in_image(peak.pixel % across.outputs));
    keypoints[3 * i + 1] = T(y_axis(i).in_image(peak.pixel / across.outputs));
    keypoints[3 * i + 2] = T(1);
    scores[i] = T(score);
  }
};

template <typename T>
void decode_keypoints(const DecodeKeypoints<T>& args, Context& context);

}  // namespace ldie::heatmap
