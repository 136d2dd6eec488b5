// SPDX-License-Identifier: Apache-2.0
#include "heatmap/gather_l1_loss.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::heatmap {
namespace {

void check_inputs(const char* op, const Tensor& maps, const Tensor& index, const Tensor& target, const Tensor& valid) {
  check_floating(op, "maps", maps);
  check_shape(op, "maps", maps, {kAnySize, kAnySize, kAnySize, kAnySize}, "[B, C, H, W]");
  check_map_size(op, maps.size(2), maps.size(3));
  check_dtype(op, "index", index, ScalarType::Long);
  check_shape(op, "index", index, {maps.size(0), kAnySize}, "[B, M]");
  check_dtype(op, "target", target, maps.scalar_type());
  check_shape(op, "target", target, {maps.size(0), index.size(1), maps.size(1)}, "[B, M, C]");
  check_dtype(op, "valid", valid, ScalarType::Bool);
  check_shape(op, "valid", valid, {maps.size(0), index.size(1)}, "[B, M]");
  check_same_device(op, "index", index, "maps", maps);
  check_same_device(op, "target", target, "maps", maps);
  check_same_device(op, "valid", valid, "maps", maps);
}

// The arguments' tensors, made contiguous and kept while the launcher runs.
struct Inputs {
  Tensor maps, index, target, valid;

  Inputs(const char* op, const Tensor& maps_, const Tensor& index_, const Tensor& target_, const Tensor& valid_) {
    check_inputs(op, maps_, index_, target_, valid_);
    maps = as_contiguous(maps_);
    index = as_contiguous(index_);
    target = as_contiguous(target_);
    valid = as_contiguous(valid_);
  }

  template <typename T>
  GatherL1<T> pointers() const {
    return {data<T>(maps), data<int64_t>(index),        data<T>(target), data<bool>(valid), maps.size(0),
            maps.size(1),  maps.size(2) * maps.size(3), index.size(1)};
  }
};

ScalarType scale_dtype(const Tensor& maps) {
  return maps.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

std::tuple<Tensor, Tensor> gather_l1_loss_op(const Tensor& maps, const Tensor& index, const Tensor& target,
                                             const Tensor& valid) {
  const Inputs inputs("gather_l1_loss", maps, index, target, valid);
  Tensor loss = make_empty(maps, {}), scale = make_empty(maps, {}, scale_dtype(maps));
  TensorContext context(maps);
  dispatch_floating(maps.scalar_type(), [&](auto element) {
    using T = decltype(element);
    gather_l1_loss(GatherL1Loss<T>{inputs.pointers<T>(), mutable_data<T>(loss), mutable_data<acc_t<T>>(scale)},
                   context);
  });
  return {loss, scale};
}

Tensor gather_l1_loss_backward_op(const Tensor& grad_loss, const Tensor& scale, const Tensor& maps, const Tensor& index,
                                  const Tensor& target, const Tensor& valid) {
  constexpr const char* op = "gather_l1_loss_backward";
  const Inputs inputs(op, maps, index, target, valid);
  check_dtype(op, "grad_loss", grad_loss, maps.scalar_type());
  check_shape(op, "grad_loss", grad_loss, {}, "[]");
  check_dtype(op, "scale", scale, scale_dtype(maps));
  check_shape(op, "scale", scale, {}, "[]");
  check_same_device(op, "grad_loss", grad_loss, "maps", maps);
  check_same_device(op, "scale", scale, "maps", maps);
  MostlyZero grad_maps =
      make_mostly_zero(maps, {maps.size(0), maps.size(1), maps.size(2), maps.size(3)}, maps.scalar_type());
  TensorContext context(maps);
  dispatch_floating(maps.scalar_type(), [&](auto element) {
    using T = decltype(element);
    gather_l1_loss_backward(GatherL1LossBackward<T>{inputs.pointers<T>(), data<T>(grad_loss), data<acc_t<T>>(scale),
                                                    mutable_data<T>(grad_maps.tensor), grad_maps.zeroed},
                            context);
  });
  return grad_maps.tensor;
}

LDIE_SCHEMA("gather_l1_loss(Tensor maps, Tensor index, Tensor target, Tensor valid) -> (Tensor, Tensor)");
LDIE_SCHEMA(
    "gather_l1_loss_backward(Tensor grad_loss, Tensor scale, Tensor maps, Tensor index, Tensor target, Tensor valid) "
    "-> Tensor");
LDIE_REGISTER("gather_l1_loss", gather_l1_loss_op)
LDIE_REGISTER("gather_l1_loss_backward", gather_l1_loss_backward_op)

}  // namespace
}  // namespace ldie::heatmap
