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

namespace ldie::boxes {

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

// The interval that a shift and a scale make of a proposal's.
template <typename A>
struct DecodedInterval {
  A low, high;

  LDIE_HD static DecodedInterval of(const Interval<A>& proposal, A shift, A scale, A clip) {
    const A centre = shift * proposal.size + proposal.centre;
    const A half = A(0.5) * (fast_exp(clamp_above(scale, clip)) * proposal.size);
    return {centre - half, centre + half};
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

// Gradients of an interval's low and high end, from those of its centre and size.
template <typename A>
struct EndGradients {
  A low, high;

  LDIE_HD static EndGradients of(A centre, A size) { return {A(0.5) * centre - size, A(0.5) * centre + size}; }
};

// One axis of encode: what the gradients of shift and scale, weights included, are for the two intervals.
template <typename A>
struct EncodeAxisGradient {
  EndGradients<A> reference, proposal;

  LDIE_HD static EncodeAxisGradient of(const Interval<A>& reference, const Interval<A>& proposal, A shift, A scale) {
    const A centre = shift / proposal.size, distance = (reference.centre - proposal.centre) / proposal.size;
    return {EndGradients<A>::of(centre, scale / reference.size),
            EndGradients<A>::of(-centre, -(centre * distance + scale / proposal.size))};
  }
};

template <typename A>
struct EncodeGradient {
  Box<A> reference, proposal;
};

template <typename A>
LDIE_HD EncodeGradient<A> encode_box_gradient(const BoxDelta<A>& grad, const Box<A>& reference, const Box<A>& proposal,
                                              const BoxDelta<A>& weights) {
  const auto x = EncodeAxisGradient<A>::of(Interval<A>::between(reference.x1, reference.x2),
                                           Interval<A>::between(proposal.x1, proposal.x2), grad.x * weights.x,
                                           grad.width * weights.width);
  const auto y = EncodeAxisGradient<A>::of(Interval<A>::between(reference.y1, reference.y2),
                                           Interval<A>::between(proposal.y1, proposal.y2), grad.y * weights.y,
                                           grad.height * weights.height);
  return {{x.reference.low, y.reference.low, x.reference.high, y.reference.high},
          {x.proposal.low, y.proposal.low, x.proposal.high, y.proposal.high}};
}

// One axis of decode: the gradients of shift, scale and the proposal's ends. At the clip itself the scale still has a
// gradient, as torch.clamp's input has.
template <typename A>
struct DecodeAxisGradient {
  A shift, scale;
  EndGradients<A> proposal;

  LDIE_HD static DecodeAxisGradient of(const Interval<A>& proposal, A shift, A scale, A clip, A low, A high) {
    const A growth = fast_exp(clamp_above(scale, clip));
    const A centre = low + high, size = A(0.5) * (high - low) * growth;
    return {centre * proposal.size, scale <= clip ? size * proposal.size : A(0),
            EndGradients<A>::of(centre, centre * shift + size)};
  }
};

template <typename A>
struct DecodeGradient {
  BoxDelta<A> delta;
  Box<A> proposal;
};

// decode_box with its options; kClipped: to an image of `size`.
template <typename A, bool kClipped>
struct BoxDecoder {
  BoxDelta<A> weights;
  A clip;
  Size2<A> size;

  LDIE_HD Box<A> decode(const BoxDelta<A>& delta, const Box<A>& proposal) const {
    const Box<A> box = decode_box(delta, proposal, weights, clip);
    return kClipped ? clip_box(box, size) : box;
  }

  LDIE_HD DecodeGradient<A> gradient(Box<A> grad, const BoxDelta<A>& delta, const Box<A>& proposal) const {
    if constexpr (kClipped) grad = inside_only(grad, decode_box(delta, proposal, weights, clip));
    const auto x = DecodeAxisGradient<A>::of(Interval<A>::between(proposal.x1, proposal.x2), delta.x / weights.x,
                                             delta.width / weights.width, clip, grad.x1, grad.x2);
    const auto y = DecodeAxisGradient<A>::of(Interval<A>::between(proposal.y1, proposal.y2), delta.y / weights.y,
                                             delta.height / weights.height, clip, grad.y1, grad.y2);
    return {{x.shift / weights.x, y.shift / weights.y, x.scale / weights.width, y.scale / weights.height},
            {x.proposal.low, y.proposal.low, x.proposal.high, y.proposal.high}};
  }

 private:
  LDIE_HD static A inside(A grad, A x, A most) { return x >= A(0) && x <= most ? grad : A(0); }
  LDIE_HD Box<A> inside_only(const Box<A>& grad, const Box<A>& box) const {
    return {inside(grad.x1, box.x1, size.width), inside(grad.y1, box.y1, size.height),
            inside(grad.x2, box.x2, size.width), inside(grad.y2, box.y2, size.height)};
  }
};

struct DecodeOptions {
  BoxDelta<double> weights;
  double clip;
  bool clipped;
  Size2<double> size;
};

template <typename A>
BoxDelta<A> weights_as(const BoxDelta<double>& weights) {
  return {A(weights.x), A(weights.y), A(weights.width), A(weights.height)};
}

// Calls body(decoder) with the decoder for these options, computed in T's accumulation type.
template <typename T, typename Body>
void with_decoder(const DecodeOptions& options, const Body& body) {
  using A = acc_t<T>;
  const BoxDelta<A> weights = weights_as<A>(options.weights);
  const Size2<A> size{A(options.size.height), A(options.size.width)};
  if (options.clipped) {
    body(BoxDecoder<A, true>{weights, A(options.clip), size});
  } else {
    body(BoxDecoder<A, false>{weights, A(options.clip), size});
  }
}

template <typename T>
struct EncodeBoxes {
  const T *reference, *proposals;  // [count, 4]
  int64_t count;
  BoxDelta<double> weights;
  T* deltas;  // [count, 4]
};

template <typename T>
void encode_boxes(const EncodeBoxes<T>& args, Context& context);

template <typename T>
struct EncodeBoxesBackward {
  const T *grad, *reference, *proposals;  // [count, 4]
  int64_t count;
  BoxDelta<double> weights;
  T *grad_reference, *grad_proposals;  // [count, 4]
};

template <typename T>
void encode_boxes_backward(const EncodeBoxesBackward<T>& args, Context& context);

template <typename T>
struct DecodeBoxes {
  const T *deltas, *proposals;  // [rows, per_row, 4], [rows, 4]
  int64_t rows, per_row;
  DecodeOptions options;
  T* boxes;  // [rows, per_row, 4]
};

template <typename T>
void decode_boxes(const DecodeBoxes<T>& args, Context& context);

template <typename T>
struct DecodeBoxesBackward {
  const T *grad, *deltas, *proposals;
  int64_t rows, per_row;
  DecodeOptions options;
  T *grad_deltas, *grad_proposals;  // [rows, per_row, 4], [rows, 4] or null
};

template <typename T>
void decode_boxes_backward(const DecodeBoxesBackward<T>& args, Context& context);

}  // namespace ldie::boxes
