// SPDX-License-Identifier: Apache-2.0
// Soft-NMS (Bodla et al., arXiv:1704.04503, with the rules of mmcv): within each group the box of the highest score is
// selected again and again, and lowers the scores of those left by their overlap with it; a box whose lowered score is
// below min_score is dropped.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/box.h"
#include "core/context.h"
#include "core/fast_math.h"
#include "core/limits.h"

namespace ldie::suppression {

// The values are the schema's ints.
enum class Decay : int64_t { kLinear = 0, kGaussian = 1, kNaive = 2 };
constexpr Decay last_option(Decay) { return Decay::kNaive; }

// What marks a score as out of the race; a NaN score is from the start.
template <typename A>
constexpr A kOut = kNotANumber<A>;

template <typename A>
struct SoftNmsRule {
  A iou_threshold, sigma, min_score;

  // The factor for the score of a box by its IoU with the one selected; an IoU of 0 / 0 lowers nothing.
  template <Decay kDecay>
  LDIE_HD A factor(A iou) const {
    if (kDecay == Decay::kGaussian) return iou == iou ? fast_exp(-(iou * iou) / sigma) : A(1);
    return iou >= iou_threshold ? kDecay == Decay::kNaive ? A(0) : A(1) - iou : A(1);
  }

  // The score of `box` after `selected` was selected: lowered, or kOut.
  template <Decay kDecay>
  LDIE_HD A lowered(A score, const Box<A>& box, A area, const Box<A>& selected, A selected_area) const {
    const A iou = intersection_over_union(box_intersection(selected, box), selected_area, area);
    const A result = score * factor<kDecay>(iou);
    return result >= min_score ? result : kOut<A>;
  }
};

template <typename T>
struct SoftNms {
  const T* boxes;         // [count, 4] x1 y1 x2 y2
  const T* scores;        // [count]
  const int64_t* groups;  // [count], or null when all boxes are of one group
  int64_t count;          // below 2^31
  Decay decay;
  double iou_threshold, sigma, min_score;
  T* kept_scores;      // [count] lowered scores, descending; as many as there are kept
  int64_t* kept_rows;  // [count] their rows
  int64_t* kept;       // [] how many

  SoftNmsRule<acc_t<T>> rule() const {
    using A = acc_t<T>;
    return {A(iou_threshold), A(sigma), A(min_score)};
  }
};

// Calls body with the decay as a constant.
template <typename Body>
void dispatch_decay(Decay decay, const Body& body) {
  switch (decay) {
    case Decay::kLinear: return body(std::integral_constant<Decay, Decay::kLinear>());
    case Decay::kGaussian: return body(std::integral_constant<Decay, Decay::kGaussian>());
    case Decay::kNaive: return body(std::integral_constant<Decay, Decay::kNaive>());
  }
}

template <typename T>
void soft_nms(const SoftNms<T>& args, Context& context);

}  // namespace ldie::suppression
