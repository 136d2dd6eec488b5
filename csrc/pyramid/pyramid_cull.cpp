// SPDX-License-Identifier: Apache-2.0
#include "pyramid/pyramid_cull.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::pyramid {
namespace {

std::tuple<Tensor, Tensor> pyramid_cull_op(const Tensor& present_, const Tensor& scores_, int64_t capacity) {
  constexpr const char* op = "pyramid_cull";
  const Argument argument =
      Argument(op, "present", present_).dtype(ScalarType::Bool).shape({kAnySize, kAnySize}, "[B, A]");
  argument.fewer_than_2_31(argument.size(1), "columns");
  Argument(op, "scores", scores_).floating().shape_of(argument).device_of(argument);
  check_positive(op, "capacity", capacity);
  const Tensor present = as_contiguous(present_), scores = as_contiguous(scores_);
  const int64_t batch = present.size(0);
  Tensor slots = make_empty(present, {batch, capacity}, ScalarType::Long);
  Tensor counts = make_empty(present, {batch}, ScalarType::Long);

  launch_floating(scores, [&]<typename T>(Context& context) {
    pyramid_cull<T>({.present = data<uint8_t>(present),
                     .scores = data<T>(scores),
                     .batch = batch,
                     .slots = present.size(1),
                     .capacity = capacity,
                     .kept = mutable_data<int64_t>(slots),
                     .counts = mutable_data<int64_t>(counts)},
                    context);
  });
  return {slots, counts};
}

LDIE_OP(pyramid_cull, pyramid_cull_op, "(Tensor present, Tensor scores, SymInt capacity) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::pyramid
