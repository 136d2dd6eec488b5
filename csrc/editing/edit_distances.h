// SPDX-License-Identifier: Apache-2.0
// edit_distances: how far from a target each of many sequences of edits brings an image, without the edited images, and
// the gradients by recomputation.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "editing/edit_sequences.h"
#include "editing/element.h"

namespace ldie::editing {

// The mean over pixels and channels of |d| or of d^2, d what the edited image is above the target.
enum class Metric : int64_t { kL1, kL2 };
constexpr Metric last_option(Metric) { return Metric::kL2; }

// Each image is edited by candidates' sequences: candidate p of image b is sample b * candidates + p of them.
template <typename T>
struct EditPairs {
  const T *images, *targets;  // [batch, 3, height, width]
  int64_t batch, candidates, height, width;
  EditSequences<acc_t<T>> sequences;
  Metric metric;

  LDIE_HD int64_t pixels() const { return height * width; }
  LDIE_HD int64_t rows() const { return batch * candidates; }
};

template <typename T>
struct EditDistances {
  EditPairs<T> pairs;
  acc_t<T>* out;  // [batch, candidates]
};

template <typename T>
void edit_distances(const EditDistances<T>& args, Context& context);

template <typename T>
struct EditDistancesBackward {
  EditPairs<T> pairs;
  const acc_t<T>* grad;                 // [batch, candidates]
  acc_t<T>*grad_images, *grad_targets;  // [batch, 3, height, width], each null if it is not wanted
  acc_t<T>* grad_params;                // [batch, candidates, steps, kParameters]
};

template <typename T>
void edit_distances_backward(const EditDistancesBackward<T>& args, Context& context);

template <typename V>
LDIE_HD V distance(Metric metric, const V& difference) {
  return metric == Metric::kL1 ? maximum(difference, -difference) : difference * difference;
}

// Its derivative; that of |d| at 0 is 0.
template <typename V>
LDIE_HD V distance_slope(Metric metric, const V& difference) {
  if (metric == Metric::kL2) return Number<V>(2) * difference;
  const V none{}, one = uniform<V>(1);
  return difference > none ? one : difference < none ? -one : none;
}

template <typename V>
LDIE_HD Pixel<V> distance(Metric metric, const Pixel<V>& difference) {
  return {distance(metric, difference.r), distance(metric, difference.g), distance(metric, difference.b)};
}

template <typename V>
LDIE_HD Pixel<V> distance_slope(Metric metric, const Pixel<V>& difference) {
  return {distance_slope(metric, difference.r), distance_slope(metric, difference.g),
          distance_slope(metric, difference.b)};
}

// What one channel of one pixel counts in the mean; nothing of an image without pixels.
LDIE_HD double distance_share(int64_t pixels) { return pixels > 0 ? 1.0 / (3.0 * double(pixels)) : 0.0; }

// What each number of a candidate's edited image counts in the loss.
template <typename T>
LDIE_HD acc_t<T> gradient_scale(const EditDistancesBackward<T>& args, int64_t row) {
  return acc_t<T>(double(args.grad[row]) * distance_share(args.pairs.pixels()));
}

}  // namespace ldie::editing
