// SPDX-License-Identifier: Apache-2.0
// Boxes as offsets from proposals (Girshick et al., arXiv:1311.2524, appendix C; Ren et al., arXiv:1506.01497, eq. 2).
// With p of size (w, h) around (x, y) and g of size (W, H) around (X, Y):
//   encode  dx = wx (X - x) / w    dw = ww log(W / w)                   y and h likewise
//   decode  X = dx / wx w + x      W = exp(min(dw / ww, clip)) w
#pragma once

#include <cstdint>

#include "core/box.h"
#include "core/context.h"
#include "core/fast_math.h"
#include "core/half.h"

namespace ldie {

// The offsets of a box, or the weights that scale them.
template <typename V>
struct alignas(sizeof(V) < 16 ? 16 : sizeof(V)) BoxDelta {
  V x, y, width, height;
};

template <typename A>
struct Size2 {
  A height, width;
};

// One axis of the boxes: centre and size.
template <typename A>
struct Interval {
  A centre, size;

  // In the order of operations of the peers, so that nothing but exp and log can differ.
  LDIE_HD static Interval between(A low, A high) {
    const A size = high - low;
    return {low + A(0.5) * size, size};
  }
};

template <typename A>
LDIE_HD A encode_shift(const Interval<A>& reference, const Interval<A>& proposal, A weight) {
  return weight * (reference.centre - proposal.centre) / proposal.size;
}
template <typename A>
LDIE_HD A encode_scale(const Interval<A>& reference, const Interval<A>& proposal, A weight) {
  return weight * fast_log(reference.size / proposal.size);
}

template <typename A>
LDIE_HD BoxDelta<A> encode_box(const Box<A>& reference, const Box<A>& proposal, const BoxDelta<A>& weights) {
  const auto rx = Interval<A>::between(reference.x1, reference.x2), px = Interval<A>::between(proposal.x1, proposal.x2);
  const auto ry = Interval<A>::between(reference.y1, reference.y2), py = Interval<A>::between(proposal.y1, proposal.y2);
  return {encode_shift(rx, px, weights.x), encode_shift(ry, py, weights.y), encode_scale(rx, px, weights.width),
          encode_scale(ry, py, weights.height)};
}

// min(x, most) and clamp(x, 0, most) as torch.clamp has them: NaN stays NaN.
template <typename A>
LDIE_HD A clamp_above(A x, A most) {
  return x > most ? most : x;
}
template <typename A>
LDIE_HD A clamp_to(A x, A most) {
  return x < A(0) ? A(0) : clamp_above(x, most);
}

// An interval that a shift and a scale make of a proposal's, with what the gradient needs.
template <typename A>
struct DecodedInterval {
  A shift, growth, low, high;  // growth: the exponential

  LDIE_HD static DecodedInterval of(const Interval<A>& proposal, A shift, A scale, A clip) {
    const A growth = fast_exp(clamp_above(scale, clip));
    const A centre = shift * proposal.size + proposal.centre, half = A(0.5) * (growth * proposal.size);
    return {shift, growth, centre - half, centre + half};
  }
};

// The decoded box, not clipped to any image.
template <typename A>
LDIE_HD Box<A> decode_box(const BoxDelta<A>& delta, const Box<A>& proposal, const BoxDelta<A>& weights, A clip) {
  const auto x = DecodedInterval<A>::of(Interval<A>::between(proposal.x1, proposal.x2), delta.x / weights.x,
                                        delta.width / weights.width, clip);
  const auto y = DecodedInterval<A>::of(Interval<A>::between(proposal.y1, proposal.y2), delta.y / weights.y,
                                        delta.height / weights.height, clip);
  return {x.low, y.low, x.high, y.high};
}

template <typename A>
LDIE_HD Box<A> clip_box(const Box<A>& box, const Size2<A>& size) {
  return {clamp_to(box.x1, size.width), clamp_to(box.y1, size.height), clamp_to(box.x2, size.width),
          clamp_to(box.y2, size.height)};
}

}  // namespace ldie
