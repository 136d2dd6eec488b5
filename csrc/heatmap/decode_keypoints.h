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
  LDIE_HD A sum(const A* v) const { return sum(v[0], v[1], v[2], v[3]); }

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

// What four values of a row of the map can be interpolated to across, and their greatest magnitude.
template <typename A>
struct RowBound {
  A least, greatest, magnitude;
};

// Between two values an interpolated one is (1 + n) times a mean of them, less n times one of the outer two, where n =
// 0.75 t (1 - t) is 0.1875 at most.
template <typename A>
LDIE_HD A beyond(A inner, A outer) {
  return inner + A(0.1875) * maximum(A(0), inner - outer);
}

template <typename A>
LDIE_HD RowBound<A> bound_row(A a, A b, A c, A d) {
  const A inner_least = minimum(b, c), inner_greatest = maximum(b, c);
  const A outer_least = minimum(a, d), outer_greatest = maximum(a, d);
  return {-beyond(-inner_least, -outer_greatest), beyond(inner_greatest, outer_least),
          maximum(maximum(inner_greatest, outer_greatest), -minimum(inner_least, outer_least))};
}

// No pixel of a cell is above this, given its four rows; the last term is for rounding. A cell with a NaN has no pixel
// that is a number.
template <typename A>
LDIE_HD A bound_cell(const RowBound<A> (&rows)[kTaps]) {
  const A magnitude =
      maximum(maximum(rows[0].magnitude, rows[1].magnitude), maximum(rows[2].magnitude, rows[3].magnitude));
  return beyond(maximum(rows[1].greatest, rows[2].greatest), minimum(rows[0].least, rows[3].least)) +
         A(1e-5) * magnitude;
}

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
