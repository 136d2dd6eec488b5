// SPDX-License-Identifier: Apache-2.0
#include "losses/spatial_softmax_cross_entropy.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "losses/reduction_tensors.h"

namespace ldie::losses {
namespace {

// The arguments' tensors, checked, made contiguous and kept while the launcher runs.
struct Inputs {
  Tensor logits, index, valid;

  Inputs(const char* op, const Tensor& logits_, const Tensor& index_, const Tensor& valid_) {
    const Argument given =
        Argument(op, "logits", logits_).floating().shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[N, K, H, W]");
    const auto per_map = {given.size(0), given.size(1)};
    constexpr const char* layout = "[N, K], one per map";
    Argument(op, "index", index_).dtype(ScalarType::Long).shape(per_map, layout).device_of(given);
    Argument(op, "valid", valid_).dtype(ScalarType::Bool).shape(per_map, layout).device_of(given);
    logits = as_contiguous(logits_);
    index = as_contiguous(index_);
    valid = as_contiguous(valid_);
  }

  template <typename T>
  SpatialSoftmax<T> pointers() const {
    return {data<T>(logits), data<int64_t>(index), data<bool>(valid), index.numel(), logits.size(2) * logits.size(3)};
  }
};

std::tuple<Tensor, Tensor, Tensor> spatial_softmax_cross_entropy_op(const Tensor& logits, const Tensor& index,
                                                                    const Tensor& valid, int64_t reduction_) {
  constexpr const char* op = "spatial_softmax_cross_entropy";
  const Inputs inputs(op, logits, index, valid);
  const auto reduction = checked_option<Reduction>(op, "reduction", reduction_);
  const int64_t maps = logits.size(0), keypoints = logits.size(1);
  Tensor loss = make_loss(logits, reduction, {maps, keypoints});
  Tensor normalizers = make_empty(logits, {maps, keypoints, 2}, acc_dtype(logits));
  Tensor scale = make_empty(logits, {}, acc_dtype(logits));

  launch_floating(logits, [&]<typename T>(Context& context) {
    using A = acc_t<T>;
    spatial_softmax_cross_entropy<T>({inputs.pointers<T>(), reduction, mutable_data<T>(loss),
                                      mutable_data<SoftmaxNormalizer<A>>(normalizers), mutable_data<A>(scale)},
                                     context);
  });
  return {loss, normalizers, scale};
}

Tensor spatial_softmax_cross_entropy_backward_op(const Tensor& grad_, const Tensor& logits_, const Tensor& index,
                                                 const Tensor& valid, const Tensor& normalizers_, const Tensor& scale,
                                                 int64_t reduction_) {
  constexpr const char* op = "spatial_softmax_cross_entropy_backward";
  const Inputs inputs(op, logits_, index, valid);
  const auto reduction = checked_option<Reduction>(op, "reduction", reduction_);
  const Argument logits(op, "logits", logits_);
  const int64_t maps = logits.size(0), keypoints = logits.size(1);
  check_loss_gradient(op, grad_, logits, reduction, {maps, keypoints}, "[N, K]");
  const ScalarType computed = acc_dtype(logits_);
  Argument(op, "normalizers", normalizers_).shape({maps, keypoints, 2}, "[N, K, 2]").dtype(computed).device_of(logits);
  Argument(op, "scale", scale).shape({}, "[]").dtype(computed).device_of(logits);
  const Tensor grad = as_contiguous(grad_), normalizers = as_contiguous(normalizers_);
  Tensor grad_logits = make_empty_like(inputs.logits);

  launch_floating(logits_, [&]<typename T>(Context& context) {
    using A = acc_t<T>;
    spatial_softmax_cross_entropy_backward<T>(
        {data<T>(grad), inputs.pointers<T>(), data<SoftmaxNormalizer<A>>(normalizers), data<A>(scale), reduction,
         mutable_data<T>(grad_logits)},
        context);
  });
  return grad_logits;
}

LDIE_OP(spatial_softmax_cross_entropy, spatial_softmax_cross_entropy_op,
        "(Tensor logits, Tensor index, Tensor valid, int reduction) -> (Tensor, Tensor, Tensor)");
LDIE_OP(spatial_softmax_cross_entropy_backward, spatial_softmax_cross_entropy_backward_op,
        "(Tensor grad, Tensor logits, Tensor index, Tensor valid, Tensor normalizers, Tensor scale, int reduction) -> "
        "Tensor");

}  // namespace
}  // namespace ldie::losses
