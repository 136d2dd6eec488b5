// SPDX-License-Identifier: Apache-2.0
#include "boxes/box_coder.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::boxes {
namespace {

using Reals = std::vector<double>;
using OptionalSize = std::optional<std::vector<int64_t>>;

BoxDelta<double> checked_weights(const char* op, const Reals& weights) {
  bool valid = weights.size() == 4;
  for (const double weight : weights) valid = valid && weight > 0 && !std::isinf(weight);
  if (!valid) check_failed(op, "weights must be four positive finite numbers");
  return {weights[0], weights[1], weights[2], weights[3]};
}

void check_like(const Argument& argument, const Argument& other) {
  argument.shape_of(other).dtype_of(other).device_of(other);
}

void check_encode(const char* op, const Tensor& reference_, const Tensor& proposals) {
  const Argument reference = Argument(op, "reference", reference_).floating().shape({kAnySize, 4}, "[N, 4]");
  check_like(Argument(op, "proposals", proposals), reference);
}

Tensor encode_boxes_op(const Tensor& reference_, const Tensor& proposals_, const Reals& weights) {
  constexpr const char* op = "encode_boxes";
  check_encode(op, reference_, proposals_);
  const BoxDelta<double> scales = checked_weights(op, weights);
  const Tensor reference = as_contiguous(reference_), proposals = as_contiguous(proposals_);
  Tensor deltas = make_empty_like(reference);
  if (deltas.numel() == 0) return deltas;

  launch_floating(reference, [&]<typename T>(Context& context) {
    encode_boxes<T>({data<T>(reference), data<T>(proposals), reference.size(0), scales, mutable_data<T>(deltas)},
                    context);
  });
  return deltas;
}

std::tuple<Tensor, Tensor> encode_boxes_backward_op(const Tensor& grad_, const Tensor& reference_,
                                                    const Tensor& proposals_, const Reals& weights) {
  constexpr const char* op = "encode_boxes_backward";
  check_encode(op, reference_, proposals_);
  check_like(Argument(op, "grad", grad_), Argument(op, "reference", reference_));
  const BoxDelta<double> scales = checked_weights(op, weights);
  const Tensor grad = as_contiguous(grad_), reference = as_contiguous(reference_);
  const Tensor proposals = as_contiguous(proposals_);
  Tensor grad_reference = make_empty_like(reference), grad_proposals = make_empty_like(reference);
  if (grad.numel() == 0) return {grad_reference, grad_proposals};

  launch_floating(reference, [&]<typename T>(Context& context) {
    encode_boxes_backward<T>({data<T>(grad), data<T>(reference), data<T>(proposals), reference.size(0), scales,
                              mutable_data<T>(grad_reference), mutable_data<T>(grad_proposals)},
                             context);
  });
  return {grad_reference, grad_proposals};
}

void check_decode(const char* op, const Tensor& deltas_, const Tensor& proposals) {
  const Argument deltas = Argument(op, "deltas", deltas_).floating();
  const bool flat = deltas_.dim() == 2 && deltas_.size(1) % 4 == 0;
  if (!flat && !(deltas_.dim() == 3 && deltas_.size(2) == 4)) {
    deltas.fail("must have shape [N, 4 K] or [N, K, 4]");
  }
  Argument(op, "proposals", proposals)
      .shape({deltas.size(0), 4}, "[N, 4], one for each row of deltas")
      .dtype_of(deltas)
      .device_of(deltas);
}

DecodeOptions checked_options(const char* op, const Reals& weights, double clip, const OptionalSize& size) {
  if (std::isnan(clip)) check_failed(op, "clip must be a number, got NaN");
  DecodeOptions options{checked_weights(op, weights), clip, size.has_value(), {0, 0}};
  if (size) {
    if (size->size() != 2) check_failed(op, "size must be (height, width), got ", size->size(), " numbers");
    check_map_size(op, (*size)[0], (*size)[1]);
    options.size = {double((*size)[0]), double((*size)[1])};
  }
  return options;
}

int64_t boxes_per_row(const Tensor& deltas) { return deltas.dim() == 3 ? deltas.size(1) : deltas.size(1) / 4; }

Tensor decode_boxes_op(const Tensor& deltas_, const Tensor& proposals_, const Reals& weights, double clip,
                       const OptionalSize& size) {
  constexpr const char* op = "decode_boxes";
  check_decode(op, deltas_, proposals_);
  const DecodeOptions options = checked_options(op, weights, clip, size);
  const Tensor deltas = as_contiguous(deltas_), proposals = as_contiguous(proposals_);
  Tensor boxes = make_empty_like(deltas);
  if (boxes.numel() == 0) return boxes;

  launch_floating(deltas, [&]<typename T>(Context& context) {
    decode_boxes<T>(
        {data<T>(deltas), data<T>(proposals), deltas.size(0), boxes_per_row(deltas), options, mutable_data<T>(boxes)},
        context);
  });
  return boxes;
}

// The proposals' gradient is empty where it is not asked for.
std::tuple<Tensor, Tensor> decode_boxes_backward_op(const Tensor& grad_, const Tensor& deltas_,
                                                    const Tensor& proposals_, const Reals& weights, double clip,
                                                    const OptionalSize& size, bool of_proposals) {
  constexpr const char* op = "decode_boxes_backward";
  check_decode(op, deltas_, proposals_);
  check_like(Argument(op, "grad", grad_), Argument(op, "deltas", deltas_));
  const DecodeOptions options = checked_options(op, weights, clip, size);
  const Tensor grad = as_contiguous(grad_), deltas = as_contiguous(deltas_), proposals = as_contiguous(proposals_);
  Tensor grad_deltas = make_empty_like(deltas);
  const int64_t rows = of_proposals ? deltas.size(0) : 0;
  if (grad.numel() == 0) return {grad_deltas, make_zeros(proposals, {rows, 4})};
  Tensor grad_proposals = make_empty(proposals, {rows, 4});

  launch_floating(deltas, [&]<typename T>(Context& context) {
    decode_boxes_backward<T>(
        {data<T>(grad), data<T>(deltas), data<T>(proposals), deltas.size(0), boxes_per_row(deltas), options,
         mutable_data<T>(grad_deltas), of_proposals ? mutable_data<T>(grad_proposals) : nullptr},
        context);
  });
  return {grad_deltas, grad_proposals};
}

LDIE_OP(encode_boxes, encode_boxes_op, "(Tensor reference, Tensor proposals, float[] weights) -> Tensor");
LDIE_OP(encode_boxes_backward, encode_boxes_backward_op,
        "(Tensor grad, Tensor reference, Tensor proposals, float[] weights) -> (Tensor, Tensor)");
LDIE_OP(decode_boxes, decode_boxes_op,
        "(Tensor deltas, Tensor proposals, float[] weights, float clip, SymInt[]? size) -> Tensor");
LDIE_OP(decode_boxes_backward, decode_boxes_backward_op,
        "(Tensor grad, Tensor deltas, Tensor proposals, float[] weights, float clip, SymInt[]? size, bool "
        "of_proposals) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::boxes
