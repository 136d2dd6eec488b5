// SPDX-License-Identifier: Apache-2.0
#include "boxes/box_iou.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::boxes {
namespace {

void check_inputs(const char* op, const Tensor& a_, const Tensor& b) {
  const Argument a = Argument(op, "a", a_).floating().shape({kAnySize, 4}, "[N, 4]");
  Argument(op, "b", b).dtype_of(a).shape({kAnySize, 4}, "[M, 4]").device_of(a);
}

Tensor box_iou_op(const Tensor& a_, const Tensor& b_, int64_t kind_, double eps) {
  check_inputs("box_iou", a_, b_);
  const auto kind = checked_option<BoxIouKind>("box_iou", "kind", kind_);
  const Tensor a = as_contiguous(a_), b = as_contiguous(b_);
  Tensor iou = make_empty(a, {a.size(0), b.size(0)}, acc_dtype(a));
  if (iou.numel() == 0) return iou;

  launch_floating(a, [&]<typename T>(Context& context) {
    box_iou<T>({data<T>(a), data<T>(b), a.size(0), b.size(0), kind, acc_t<T>(eps), mutable_data<acc_t<T>>(iou)},
               context);
  });
  return iou;
}

std::tuple<Tensor, Tensor> box_iou_backward_op(const Tensor& grad_, const Tensor& a_, const Tensor& b_, int64_t kind_,
                                               double eps) {
  constexpr const char* op = "box_iou_backward";
  check_inputs(op, a_, b_);
  const auto kind = checked_option<BoxIouKind>(op, "kind", kind_);
  Argument(op, "grad", grad_)
      .shape({a_.size(0), b_.size(0)}, "[N, M]")
      .dtype(acc_dtype(a_))
      .device_of(Argument(op, "a", a_));
  if (grad_.numel() == 0) return {make_zeros(a_, {a_.size(0), 4}), make_zeros(b_, {b_.size(0), 4})};
  const Tensor grad = as_contiguous(grad_), a = as_contiguous(a_), b = as_contiguous(b_);
  Tensor grad_a = make_empty_like(a), grad_b = make_empty_like(b);
  launch_floating(a, [&]<typename T>(Context& context) {
    box_iou_backward<T>({data<acc_t<T>>(grad), data<T>(a), data<T>(b), a.size(0), b.size(0), kind, acc_t<T>(eps),
                         mutable_data<T>(grad_a), mutable_data<T>(grad_b)},
                        context);
  });
  return {grad_a, grad_b};
}

LDIE_OP(box_iou, box_iou_op, "(Tensor a, Tensor b, int kind, float eps) -> Tensor");
LDIE_OP(box_iou_backward, box_iou_backward_op,
        "(Tensor grad, Tensor a, Tensor b, int kind, float eps) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::boxes
