// SPDX-License-Identifier: Apache-2.0
#include "boxes/box_iou.h"

#include <tuple>

#include "core/check.h"
#include "core/library.h"
#include "core/tensor.h"

namespace ldie::boxes {
namespace {

void check_inputs(const char* op, const Tensor& a, const Tensor& b) {
  check_floating(op, "a", a);
  check_shape(op, "a", a, {kAnySize, 4}, "[N, 4]");
  check_dtype(op, "b", b, a.scalar_type());
  check_shape(op, "b", b, {kAnySize, 4}, "[M, 4]");
  check_same_device(op, "b", b, "a", a);
}

ScalarType overlap_dtype(const Tensor& boxes) {
  return boxes.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

Tensor box_iou_op(const Tensor& a_, const Tensor& b_, int64_t kind_, double eps) {
  check_inputs("box_iou", a_, b_);
  const auto kind = checked_option<BoxIouKind>("box_iou", "kind", kind_);
  const Tensor a = as_contiguous(a_), b = as_contiguous(b_);
  Tensor iou = make_empty(a, {a.size(0), b.size(0)}, overlap_dtype(a));
  if (iou.numel() == 0) return iou;

  TensorContext context(a);
  dispatch_floating(a.scalar_type(), [&](auto element) {
    using T = decltype(element);
    BoxIou<T> args;
    args.a = data<T>(a);
    args.b = data<T>(b);
    args.a_count = a.size(0);
    args.b_count = b.size(0);
    args.kind = kind;
    args.eps = acc_t<T>(eps);
    args.iou = mutable_data<acc_t<T>>(iou);
    box_iou(args, context);
  });
  return iou;
}

std::tuple<Tensor, Tensor> box_iou_backward_op(const Tensor& grad_, const Tensor& a_, const Tensor& b_, int64_t kind_,
                                               double eps) {
  constexpr const char* op = "box_iou_backward";
  check_inputs(op, a_, b_);
  const auto kind = checked_option<BoxIouKind>(op, "kind", kind_);
  check_shape(op, "grad", grad_, {a_.size(0), b_.size(0)}, "[N, M]");
  check_dtype(op, "grad", grad_, overlap_dtype(a_));
  check_same_device(op, "grad", grad_, "a", a_);
  if (grad_.numel() == 0) return {make_zeros(a_, {a_.size(0), 4}), make_zeros(b_, {b_.size(0), 4})};
  const Tensor grad = as_contiguous(grad_), a = as_contiguous(a_), b = as_contiguous(b_);
  Tensor grad_a = make_empty_like(a), grad_b = make_empty_like(b);

  TensorContext context(a);
  dispatch_floating(a.scalar_type(), [&](auto element) {
    using T = decltype(element);
    BoxIouBackward<T> args;
    args.grad = data<acc_t<T>>(grad);
    args.a = data<T>(a);
    args.b = data<T>(b);
    args.a_count = a.size(0);
    args.b_count = b.size(0);
    args.kind = kind;
    args.eps = acc_t<T>(eps);
    args.grad_a = mutable_data<T>(grad_a);
    args.grad_b = mutable_data<T>(grad_b);
    box_iou_backward(args, context);
  });
  return {grad_a, grad_b};
}

LDIE_SCHEMA("box_iou(Tensor a, Tensor b, int kind, float eps) -> Tensor");
LDIE_REGISTER("box_iou", box_iou_op)
LDIE_SCHEMA("box_iou_backward(Tensor grad, Tensor a, Tensor b, int kind, float eps) -> (Tensor, Tensor)");
LDIE_REGISTER("box_iou_backward", box_iou_backward_op)

}  // namespace
}  // namespace ldie::boxes
