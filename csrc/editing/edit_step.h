// SPDX-License-Identifier: Apache-2.0
// One step of a sample's sequence: an operator with its numbers, and how it and its mask act on a pixel x,
//   y = clamp(M f(x) + (1 - M) x, 0, 1),  and y = x where M is 0.
//
// Pointwise operators act on pixels, X = Pixel<V>, or on one channel of them; stencils on one channel with its
// neighbours, X = Around<V>. V is a number or lanes of numbers.
#pragma once

#include "editing/curve_operators.h"
#include "editing/edit_op.h"
#include "editing/hue_operators.h"
#include "editing/shade_operators.h"
#include "editing/stencil_operators.h"

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

// Calls body<Operator>() of a pointwise operator. Other numbers, and kNone, are no call.
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

// The same of a stencil.
template <typename A, typename Body>
LDIE_HD void with_stencil(EditOp op, const Body& body) {
  switch (op) {
    case EditOp::kSharpness: return body.template operator()<Sharpness<A>>();
    case EditOp::kBlur: return body.template operator()<Blur<A>>();
    case EditOp::kEdge: return body.template operator()<Edge<A>>();
    default: return;
  }
}

// Of either kind.
template <typename A, typename Body>
LDIE_HD void with_any_operator(EditOp op, const Body& body) {
  with_operator<A>(op, body);
  with_stencil<A>(op, body);
}

// How many sums the operator's gradient is made of.
template <typename A>
LDIE_HD int sums_of(EditOp op) {
  int sums = 0;
  with_any_operator<A>(op, [&]<typename Operator>() { sums = Operator::kSums; });
  return sums;
}

template <typename Operator, typename X>
LDIE_HD auto edit(const Operator& op, const X& x) {
  return clamp_unit(op.forward(x));
}

template <typename Operator, typename X, typename V>
LDIE_HD auto edit_masked(const Operator& op, const X& x, const V& mask) {
  const V outside = Number<V>(1) - mask;
  const auto& own = own_value(x);
  return select(mask == Number<V>(0), own, clamp_unit(mask * op.forward(x) + outside * own));
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

// Of a stencil: what goes to the pixel itself and to its neighbours.
template <typename Operator, typename V, typename Sums>
LDIE_HD auto edit_backward(const Operator& op, const Around<V>& x, const V& grad, const Sums& sums) {
  return op.backward(x, clamp_gradient(op.forward(x), grad), sums);
}

template <typename Operator, typename V, typename Sums>
LDIE_HD auto edit_masked_backward(const Operator& op, const Around<V>& x, const V& mask, const V& grad,
                                  const Sums& sums) {
  const V outside = Number<V>(1) - mask, none{};
  const V passed = clamp_gradient(mask * op.forward(x) + outside * own_value(x), grad);
  auto flow = op.backward(x, mask * passed, sums);
  const auto untouched = mask == Number<V>(0);
  flow.own = select(untouched, grad, flow.own + outside * passed);
  for (auto& field : flow.fields) field = select(untouched, none, field);
  return flow;
}

}  // namespace ldie::editing
