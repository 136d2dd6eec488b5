// SPDX-License-Identifier: Apache-2.0
#include "heatmap/gather_l1_loss.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::heatmap {
namespace {

// The arguments' tensors, checked, made contiguous and kept while the launcher runs.
struct Inputs {
  Tensor maps, index, target, valid;

  Inputs(const char* op, const Tensor& maps_, const Tensor& index_, const Tensor& target_, const Tensor& valid_) {
    const Argument given =
        Argument(op, "maps", maps_).floating().shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[B, C, H, W]");
    const int64_t batch = given.size(0), channels = given.size(1);
    check_map_size(op, given.size(2), given.size(3));
    const Argument slots =
        Argument(op, "index", index_).dtype(ScalarType::Long).shape({batch, kAnySize}, "[B, M]").device_of(given);
    const int64_t count = slots.size(1);
    Argument(op, "target", target_).dtype_of(given).shape({batch, count, channels}, "[B, M, C]").device_of(given);
    Argument(op, "valid", valid_).dtype(ScalarType::Bool).shape({batch, count}, "[B, M]").device_of(given);
    maps = as_contiguous(maps_);
    index = as_contiguous(index_);
    target = as_contiguous(target_);
    valid = as_contiguous(valid_);
  }

  template <typename T>
  GatherL1<T> pointers() const {
    return {.maps = data<T>(maps),
            .index = data<int64_t>(index),
            .target = data<T>(target),
            .valid = data<bool>(valid),
            .batch = maps.size(0),
            .channels = maps.size(1),
            .area = maps.size(2) * maps.size(3),
            .slots = index.size(1)};
  }
};

std::tuple<Tensor, Tensor> gather_l1_loss_op(const Tensor& maps, const Tensor& index, const Tensor& target,
                                             const Tensor& valid) {
  const Inputs inputs("gather_l1_loss", maps, index, target, valid);
  Tensor loss = make_empty(maps, {}), scale = make_empty(maps, {}, acc_dtype(maps));
  launch_floating(maps, [&]<typename T>(Context& context) {
    gather_l1_loss<T>({inputs.pointers<T>(), mutable_data<T>(loss), mutable_data<acc_t<T>>(scale)}, context);
  });
  return {loss, scale};
}

Tensor gather_l1_loss_backward_op(const Tensor& grad_loss, const Tensor& scale, const Tensor& maps, const Tensor& index,
                                  const Tensor& target, const Tensor& valid) {
  constexpr const char* op = "gather_l1_loss_backward";
  const Inputs inputs(op, maps, index, target, valid);
  const Argument given(op, "maps", maps);
  Argument(op, "grad_loss", grad_loss).dtype_of(given).shape({}, "[]").device_of(given);
  Argument(op, "scale", scale).dtype(acc_dtype(maps)).shape({}, "[]").device_of(given);
  MostlyZero grad_maps =
      make_mostly_zero(maps, {maps.size(0), maps.size(1), maps.size(2), maps.size(3)}, maps.scalar_type());
  launch_floating(maps, [&]<typename T>(Context& context) {
    gather_l1_loss_backward<T>({inputs.pointers<T>(), data<T>(grad_loss), data<acc_t<T>>(scale),
                                mutable_data<T>(grad_maps.tensor), grad_maps.zeroed},
                               context);
  });
  return grad_maps.tensor;
}

LDIE_OP(gather_l1_loss, gather_l1_loss_op,
        "(Tensor maps, Tensor index, Tensor target, Tensor valid) -> (Tensor, Tensor)");
LDIE_OP(gather_l1_loss_backward, gather_l1_loss_backward_op,
        "(Tensor grad_loss, Tensor scale, Tensor maps, Tensor index, Tensor target, Tensor valid) -> Tensor");

}  // namespace
}  // namespace ldie::heatmap
