// SPDX-License-Identifier: Apache-2.0
// One step of a sample's sequence: an operator with its numbers, and how it and its mask act on a pixel x,
//   y = clamp(M f(x) + (1 - M) x, 0, 1),  and y = x where M is 0.
//
// Pointwise steps follow one another in a run, on pixels that stay where they are. A stencil needs its neighbours'
// values from before it, so it begins a run of its own, and each run is one pass over the image.
#pragma once

#include "editing/curve_operators.h"
#include "editing/edit_op.h"
#include "editing/hue_operators.h"
#include "editing/shade_operators.h"

namespace ldie::editing {

constexpr int kMostNumbers = ColorCurve<float>::kSums, kMostSums = ColorCurve<float>::kSums;
constexpr int64_t kWholeImage = -1;

// What a step is, where it acts and what its pixels need: plain memory, so that a block's threads can share it.
template <typename A>
struct EditStep {
  EditOp op;
  int64_t mask;    // its number, or kWholeImage
  bool exclusive;  // it acts outside of the mask
  A numbers[kMostNumbers];
};

// Calls body<Operator>(). Other numbers, and kNone, are no call: they leave the image as it is.
template <typename A, typename Body>
LDIE_HD void with_operator(EditOp op, const Body& body) {
  switch (op) {
    case EditOp::kBrightness: return body.template operator()<Brightness<A>>();
    case EditOp::kContrast: return body.template operator()<Contrast<A>>();
    case EditOp::kSaturation: return body.template operator()<Saturation<A>>();
    case EditOp::kColorCurve: return body.template operator()<ColorCurve<A>>();
    case EditOp::kToneCurve: return body.template operator()<ToneCurve<A>>();
    case EditOp::kExposure: return body.template operator()<Exposure<A>>();
    case EditOp::kBlackWhite: return body.template operator()<BlackWhite<A>>();
    case EditOp::kWhiteBalance: return body.template operator()<WhiteBalance<A>>();
    case EditOp::kHue: return body.template operator()<Hue<A>>();
    case EditOp::kLightness: return body.template operator()<Lightness<A>>();
    case EditOp::kColorBackground: return body.template operator()<ColorBackground<A>>();
    case EditOp::kColorize: return body.template operator()<Colorize<A>>();
    default: return;
  }
}

// How many sums the operator's gradient is made of.
template <typename A>
LDIE_HD int sums_of(EditOp op) {
  int sums = 0;
  with_operator<A>(op, [&]<typename Operator>() { sums = Operator::kSums; });
  return sums;
}

// X is a pixel, or one channel of it for operators on one.
template <typename Operator, typename X>
LDIE_HD X edit(const Operator& op, const X& x) {
  return clamp_unit(op.forward(x));
}

template <typename Operator, typename X, typename V>
LDIE_HD X edit_masked(const Operator& op, const X& x, const V& mask) {
  const V outside = Number<V>(1) - mask;
  return select(mask == Number<V>(0), x, clamp_unit(mask * op.forward(x) + outside * x));
}

template <typename Operator, typename X, typename Sums>
LDIE_HD X edit_backward(const Operator& op, const X& x, const X& grad, const Sums& sums) {
  return op.backward(x, clamp_gradient(op.forward(x), grad), sums);
}

template <typename Operator, typename X, typename V, typename Sums>
LDIE_HD X edit_masked_backward(const Operator& op, const X& x, const V& mask, const X& grad, const Sums& sums) {
  const V outside = Number<V>(1) - mask;
  const X passed = clamp_gradient(mask * op.forward(x) + outside * x, grad);
  const X through = op.backward(x, mask * passed, sums);
  return select(mask == Number<V>(0), grad, through + outside * passed);
}

}  // namespace ldie::editing
