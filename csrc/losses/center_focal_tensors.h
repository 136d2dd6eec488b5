// SPDX-License-Identifier: Apache-2.0
// What the backward of both centre focal losses checks.
#pragma once

#include "core/argument_tensors.h"

namespace ldie::losses {

inline void check_center_focal_gradient(const char* op, const Tensor& grad, const Tensor& num_peaks,
                                        const Tensor& logits_) {
  const Argument logits(op, "logits", logits_);
  Argument(op, "grad", grad).shape({}, "[]").dtype_of(logits).device_of(logits);
  Argument(op, "num_peaks", num_peaks).shape({}, "[]").dtype(ScalarType::Long).device_of(logits);
}

}  // namespace ldie::losses
