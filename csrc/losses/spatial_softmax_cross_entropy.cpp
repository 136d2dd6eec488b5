// SPDX-License-Identifier: Apache-2.0
#include "losses/spatial_softmax_cross_entropy.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::losses {
namespace {

ScalarType compute_dtype(const Tensor& logits) {
  return logits.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// The arguments' tensors, checked, made contiguous and kept while the launcher runs.
struct Inputs {
  Tensor logits, index, valid;

  Inputs(const char* op, const Tensor& logits_, const Tensor& index_, const Tensor& valid_) {
    check_floating(op, "logits", logits_);
    check_shape(op, "logits", logits_, {kAnySize, kAnySize, kAnySize, kAnySize}, "[N, K, H, W]");
    const int64_t maps = logits_.size(0), keypoints = logits_.size(1);
    check_dtype(op, "index", index_, ScalarType::Long);
    check_shape(op, "index", index_, {maps, keypoints}, "[N, K], one per map");
    check_dtype(op, "valid", valid_, ScalarType::Bool);
    check_shape(op, "valid", valid_, {maps, keypoints}, "[N, K], one per map");
    check_same_device(op, "index", index_, "logits", logits_);
    check_same_device(op, "valid", valid_, "logits", logits_);
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
  const bool reduced = reduction != Reduction::kNone;
  Tensor loss = reduced ? make_empty(logits, {}) : make_empty(logits, {maps, keypoints});
  Tensor normalizers = make_empty(logits, {maps, keypoints, 2}, compute_dtype(logits));
  Tensor scale = make_empty(logits, {}, compute_dtype(logits));

  TensorContext context(logits);
  dispatch_floating(logits.scalar_type(), [&](auto element) {
    using T = decltype(element);
    using A = acc_t<T>;
    SpatialSoftmaxLoss<T> args;
    args.inputs = inputs.pointers<T>();
    args.reduction = reduction;
    args.loss = mutable_data<T>(loss);
    args.normalizers = mutable_data<SoftmaxNormalizer<A>>(normalizers);
    args.scale = mutable_data<A>(scale);
    spatial_softmax_cross_entropy(args, context);
  });
  return {loss, normalizers, scale};
}

void check_backward(const Tensor& grad, const Tensor& logits, const Tensor& normalizers, const Tensor& scale,
                    Reduction reduction) {
  constexpr const char* op = "spatial_softmax_cross_entropy_backward";
  const int64_t maps = logits.size(0), keypoints = logits.size(1);
  if (reduction == Reduction::kNone) {
    check_shape(op, "grad", grad, {maps, keypoints}, "[N, K]");
  } else {
    check_shape(op, "grad", grad, {}, "[]");
  }
  check_dtype(op, "grad", grad, logits.scalar_type());
  check_shape(op, "normalizers", normalizers, {maps, keypoints, 2}, "[N, K, 2]");
  check_dtype(op, "normalizers", normalizers, compute_dtype(logits));
  check_shape(op, "scale", scale, {}, "[]");
  check_dtype(op, "scale", scale, compute_dtype(logits));
  check_same_device(op, "grad", grad, "logits", logits);
  check_same_device(op, "normalizers", normalizers, "logits", logits);
  check_same_device(op, "scale", scale, "logits", logits);
}

Tensor spatial_softmax_cross_entropy_backward_op(const Tensor& grad_, const Tensor& logits, const Tensor& index,
                                                 const Tensor& valid, const Tensor& normalizers_, const Tensor& scale,
                                                 int64_t reduction_) {
  constexpr const char* op = "spatial_softmax_cross_entropy_backward";
  const Inputs inputs(op, logits, index, valid);
  const auto reduction = checked_option<Reduction>(op, "reduction", reduction_);
  check_backward(grad_, logits, normalizers_, scale, reduction);
  const Tensor grad = as_contiguous(grad_), normalizers = as_contiguous(normalizers_);
  Tensor grad_logits = make_empty_like(inputs.logits);

  TensorContext context(logits);
  dispatch_floating(logits.scalar_type(), [&](auto element) {
    using T = decltype(element);
    using A = acc_t<T>;
    SpatialSoftmaxBackward<T> args;
    args.grad = data<T>(grad);
    args.inputs = inputs.pointers<T>();
    args.normalizers = data<SoftmaxNormalizer<A>>(normalizers);
    args.scale = data<A>(scale);
    args.reduction = reduction;
    args.grad_logits = mutable_data<T>(grad_logits);
    spatial_softmax_cross_entropy_backward(args, context);
  });
  return grad_logits;
}

LDIE_SCHEMA(
    "spatial_softmax_cross_entropy(Tensor logits, Tensor index, Tensor valid, int reduction) -> "
    "(Tensor, Tensor, Tensor)");
LDIE_REGISTER("spatial_softmax_cross_entropy", spatial_softmax_cross_entropy_op)
LDIE_SCHEMA(
    "spatial_softmax_cross_entropy_backward(Tensor grad, Tensor logits, Tensor index, Tensor valid, "
    "Tensor normalizers, Tensor scale, int reduction) -> Tensor");
LDIE_REGISTER("spatial_softmax_cross_entropy_backward", spatial_softmax_cross_entropy_backward_op)

}  // namespace
}  // namespace ldie::losses
