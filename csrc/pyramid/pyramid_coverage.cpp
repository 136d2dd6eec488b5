// SPDX-License-Identifier: Apache-2.0
#include "pyramid/pyramid_coverage.h"

#include <cmath>
#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "core/wide_tensors.h"

namespace ldie::pyramid {
namespace {

constexpr const char* kOp = "pyramid_coverage";

void check_inputs(const Tensor& logits_, const Tensor& alive, const std::optional<Tensor>& places,
                  const std::optional<Tensor>& sizes) {
  const Argument logits =
      Argument(kOp, "logits", logits_).floating().shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[B, A, h, w]");
  Argument(kOp, "alive", alive)
      .dtype(ScalarType::Bool)
      .shape({logits.size(0), logits.size(1)}, "[B, A], one per map of logits")
      .device_of(logits);
  if (places) {
    Argument(kOp, "places", *places)
        .floating()
        .shape({logits.size(0), logits.size(1), 2}, "[B, A, 2], one per map of logits")
        .device_of(logits);
  }
  if (sizes) {
    Argument(kOp, "sizes", *sizes)
        .dtype(ScalarType::Long)
        .shape({logits.size(0), 2}, "[B, 2], one per image of logits")
        .device_of(logits);
  }
}

void check_numbers(int64_t top_k, std::optional<double> background, double floor, ScalarType dtype) {
  if (top_k < 1 || top_k > kMostTop) check_failed(kOp, "top_k must be 1 to ", kMostTop, ", got ", top_k);
  const double value = background.value_or(0);
  if (!(dtype == ScalarType::Double ? std::isfinite(value) : std::isfinite(float(value)))) {
    check_failed(kOp, "background must be finite as ", dtype_name(dtype), ", got ", value);
  }
  if (!(floor >= 0 && floor <= 1)) check_failed(kOp, "floor must be at least 0 and at most 1, got ", floor);
}

std::tuple<Tensor, Tensor, Tensor> pyramid_coverage_op(const Tensor& logits_, const Tensor& alive_,
                                                       const std::optional<Tensor>& places_, double step, int64_t mode,
                                                       int64_t top_k, std::optional<double> background, double floor,
                                                       const std::optional<Tensor>& sizes_) {
  check_inputs(logits_, alive_, places_, sizes_);
  check_step(kOp, step);
  const ShareMode share_mode = checked_option<ShareMode>(kOp, "mode", mode);
  check_numbers(top_k, background, floor, acc_dtype(logits_));
  const Tensor logits = as_contiguous(logits_), alive = as_contiguous(alive_);
  const std::optional<Tensor> places = as_wide(places_), sizes = as_contiguous(sizes_);
  const int64_t batch = logits.size(0), slots = logits.size(1), height = logits.size(2), width = logits.size(3);
  Tensor coverage = make_empty(logits, {batch, height, width}, acc_dtype(logits));
  Tensor present = make_empty(alive, {batch, slots});
  Tensor responses = make_empty(coverage, {batch, places ? slots : 0});
  if (batch == 0) return {coverage, present, responses};

  launch_floating(logits, [&]<typename T>(Context& context) {
    using A = acc_t<T>;
    pyramid_coverage<T>({.logits = data<T>(logits),
                         .alive = data<bool>(alive),
                         .sizes = sizes ? data<int64_t>(*sizes) : nullptr,
                         .places = wide_numbers(places),
                         .step = step,
                         .batch = batch,
                         .slots = slots,
                         .height = height,
                         .width = width,
                         .top_k = top_k,
                         .rule = {share_mode, background.has_value(), A(background.value_or(0)), A(floor)},
                         .coverage = mutable_data<A>(coverage),
                         .present = mutable_data<bool>(present),
                         .responses = mutable_data<A>(responses)},
                        context);
  });
  return {coverage, present, responses};
}

// The responses have no columns where there are no places.
LDIE_OP(pyramid_coverage, pyramid_coverage_op,
        "(Tensor logits, Tensor alive, Tensor? places, float step, int mode, int top_k, float? background, "
        "float floor, Tensor? sizes) -> (Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace ldie::pyramid
