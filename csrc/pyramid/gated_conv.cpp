// SPDX-License-Identifier: Apache-2.0
#include "pyramid/gated_conv.h"

#include <cmath>
#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::pyramid {
namespace {

// The arguments' tensors, checked and kept while the launcher runs.
struct Inputs {
  Tensor gates, responses;
  TapWindow window;
  int64_t batch, count, outputs;

  Inputs(const char* op, const Tensor& gates_, const Tensor& responses_) {
    const Argument given =
        Argument(op, "gates", gates_).floating().shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[B, A, h, w]");
    check_map_size(op, given.size(2), given.size(3));
    const Argument taps =
        Argument(op, "responses", responses_)
            .shape({given.size(0), kAnySize, kAnySize, given.size(2), given.size(3)}, "[B, O, K * K, h, w]")
            .dtype_of(given)
            .device_of(given);
    const auto side = int64_t(std::llround(std::sqrt(double(taps.size(2)))));
    if (side * side != taps.size(2) || side % 2 == 0) taps.fail("must have K * K taps with K odd");
    window = {side, given.size(2), given.size(3)};
    batch = given.size(0);
    count = given.size(1);
    outputs = taps.size(1);
    gates = as_contiguous(gates_);
    responses = as_contiguous(responses_);
  }
};

Tensor gated_conv_op(const Tensor& gates, const Tensor& responses) {
  const Inputs in("gated_conv", gates, responses);
  Tensor output = make_empty(in.gates, {in.batch, in.count, in.outputs, in.window.height, in.window.width});
  if (output.numel() == 0) return output;
  launch_floating(output, [&]<typename T>(Context& context) {
    gated_sums<T>({.maps = data<T>(in.gates),
                   .responses = data<T>(in.responses),
                   .window = in.window,
                   .batch = in.batch,
                   .count = in.count,
                   .channels = 1,
                   .sums = in.outputs,
                   .turned = false,
                   .results = mutable_data<T>(output)},
                  context);
  });
  return output;
}

Tensor gradient_of_gates(const Inputs& in, const Tensor& grad) {
  Tensor gradient = make_empty_like(in.gates);
  if (gradient.numel() == 0) return gradient;
  launch_floating(gradient, [&]<typename T>(Context& context) {
    gated_sums<T>({.maps = data<T>(grad),
                   .responses = data<T>(in.responses),
                   .window = in.window,
                   .batch = in.batch,
                   .count = in.count,
                   .channels = in.outputs,
                   .sums = 1,
                   .turned = true,
                   .results = mutable_data<T>(gradient)},
                  context);
  });
  return gradient;
}

Tensor gradient_of_responses(const Inputs& in, const Tensor& grad) {
  Tensor gradient = make_empty_like(in.responses);
  if (gradient.numel() == 0) return gradient;
  launch_floating(gradient, [&]<typename T>(Context& context) {
    gated_products<T>({.grads = data<T>(grad),
                       .gates = data<T>(in.gates),
                       .window = in.window,
                       .batch = in.batch,
                       .count = in.count,
                       .outputs = in.outputs,
                       .results = mutable_data<T>(gradient)},
                      context);
  });
  return gradient;
}

// A gradient that is not needed is empty.
std::tuple<Tensor, Tensor> gated_conv_backward_op(const Tensor& grad_, const Tensor& gates, const Tensor& responses,
                                                  bool needs_gates, bool needs_responses) {
  constexpr const char* op = "gated_conv_backward";
  const Inputs in(op, gates, responses);
  const Argument given(op, "gates", gates);
  Argument(op, "grad", grad_)
      .shape({in.batch, in.count, in.outputs, in.window.height, in.window.width}, "[B, A, O, h, w]")
      .dtype_of(given)
      .device_of(given);
  const Tensor grad = as_contiguous(grad_);
  return {needs_gates ? gradient_of_gates(in, grad) : make_empty(in.gates, {0}),
          needs_responses ? gradient_of_responses(in, grad) : make_empty(in.gates, {0})};
}

LDIE_OP(gated_conv, gated_conv_op, "(Tensor gates, Tensor responses) -> Tensor");
LDIE_OP(gated_conv_backward, gated_conv_backward_op,
        "(Tensor grad, Tensor gates, Tensor responses, bool needs_gates, bool needs_responses) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::pyramid
