// SPDX-License-Identifier: Apache-2.0
// Greedy non-maximum suppression. In descending order of score, a box is kept unless a box that was kept before it, in
// the same group, has an IoU with it above the threshold. Order, strictness and NaN are those of torchvision's CPU op.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/box.h"
#include "core/context.h"

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
  return double(rounded) > threshold ? std::nextafter(rounded, -std::numeric_limits<A>::infinity()) : rounded;
}

template <typename A>
LDIE_HD bool overlaps(const Box<A>& a, A area_a, const Box<A>& b, A area_b, A threshold) {
  const A intersection = box_intersection(a, b);
  if (threshold >= A(0) && !(intersection > A(0))) return false;       // saves the division: the IoU is 0 or NaN
  return intersection / (area_a + area_b - intersection) > threshold;  // 0 / 0 is NaN and overlaps nothing
}

// Whether the box can overlap anything at all. One with a NaN cannot: its area is NaN, and so is every IoU. With a
// threshold of 0 or more an intersection is needed too, which an empty or inverted box never has, and a finite area:
// with an infinite one the IoU is 0 or NaN. With a negative threshold boxes far apart suppress each other.
template <typename A>
LDIE_HD bool can_overlap(const Box<A>& box, A area, A threshold) {
  if (threshold >= A(0)) return box.x2 > box.x1 && box.y2 > box.y1 && area > A(0) && area - area == A(0);
  return threshold < A(0) && area == area;
}

}  // namespace ldie::suppression
