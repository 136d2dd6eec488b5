// SPDX-License-Identifier: Apache-2.0
// The tensors of losses that are reduced, or not.
#pragma once

#include <initializer_list>

#include "core/argument_tensors.h"
#include "losses/reduction.h"

namespace ldie::losses {

// The gradient of a loss of this size before its reduction; `layout` is the readable form of the size.
inline void check_loss_gradient(const char* op, const Tensor& grad_, const Argument& inputs, Reduction reduction,
                                std::initializer_list<int64_t> size, const char* layout) {
  const Argument grad(op, "grad", grad_);
  reduction == Reduction::kNone ? grad.shape(size, layout) : grad.shape({}, "[]");
  grad.dtype_of(inputs).device_of(inputs);
}

inline Tensor make_loss(const Tensor& inputs, Reduction reduction, std::initializer_list<int64_t> size) {
  return reduction == Reduction::kNone ? make_empty(inputs, size) : make_empty(inputs, {});
}

}  // namespace ldie::losses
