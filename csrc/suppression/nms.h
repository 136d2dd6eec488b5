// SPDX-License-Identifier: Apache-2.0
// Greedy non-maximum suppression. In descending order of score, a box is kept unless a box that was kept before it, in
// the same group, has an IoU with it above the threshold. Order, strictness and NaN are those of torchvision's CPU op.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/box.h"
#include "core/context.h"
#include "core/limits.h"

namespace ldie::suppression {

template <typename T>
struct Nms {
  const T* boxes;         // [count, 4] x1 y1 x2 y2
  const T* scores;        // [count]
  const int64_t* groups;  // [count], or null when all boxes are of one group
  int64_t count;          // below 2^32
  double iou_threshold;
  int64_t max_output;
  int64_t* keep;  // [max_output] rows kept, by descending score, then -1
  int64_t* kept;  // [] how many
};

template <typename T>
void nms(const Nms<T>& args, Context& context);

// ---- order
template <typename A>
struct ScoreKey;
template <>
struct ScoreKey<float> {
  using type = uint32_t;
};
template <>
struct ScoreKey<double> {
  using type = uint64_t;
};
template <typename A>
using score_key_t = typename ScoreKey<A>::type;

// Ascending keys are descending scores as torch.sort orders them: NaN before everything, -0 equal to +0.
template <typename A>
LDIE_HD score_key_t<A> score_key(A score) {
  using Key = score_key_t<A>;
  constexpr Key kSign = Key(1) << (8 * sizeof(Key) - 1);
  if (score != score) return 0;
  score += A(0);
  Key bits;
  memcpy(&bits, &score, sizeof bits);
  return bits & kSign ? bits : ~(bits | kSign);
}

// ---- overlap
// IoU > threshold in double for an IoU of type A is IoU > this in A: the greatest A that is not above the threshold.
template <typename A>
A threshold_floor(double threshold) {
  const A rounded = A(threshold) + A(0);  // no -0
  return double(rounded) > threshold ? std::nextafter(rounded, -kInfinite<A>) : rounded;
}

// The IoU of a pair, not divided yet. V is a number, or on the CPU a vector of numbers.
template <typename V>
struct PairOverlap {
  V intersection, all;

  LDIE_HD PairOverlap(const Box<V>& a, const V& area_a, const Box<V>& b, const V& area_b)
      : intersection(box_intersection(a, b)), all(area_a + area_b - intersection) {}

  // Without an intersection the IoU is 0 or NaN, which a threshold of 0 or more is not below; that saves the division.
  LDIE_HD auto intersects() const { return intersection > V{}; }
  // 0 / 0 is NaN and overlaps nothing.
  LDIE_HD auto exceeds(const V& threshold) const { return intersection / all > threshold; }
};

}  // namespace ldie::suppression
