// SPDX-License-Identifier: Apache-2.0
// The tensor side of core/wide_numbers.h, and of the unit that positions are in.
#pragma once

#include <optional>

#include "core/check_tensors.h"
#include "core/limits.h"
#include "core/tensors.h"
#include "core/wide_numbers.h"

namespace ldie {

// In another dtype where it has not that one, without gaps.
inline Tensor as_dtype(const Tensor& tensor, ScalarType dtype) {
  if (tensor.scalar_type() == dtype) return as_contiguous(tensor);
  return as_contiguous(allocated(tensor.sizes(), [&] { return torch::stable::to(tensor, dtype); }));
}

// In the dtype that it is computed in, without gaps.
inline Tensor as_wide(const Tensor& tensor) { return as_dtype(tensor, acc_dtype(tensor)); }
inline std::optional<Tensor> as_wide(const std::optional<Tensor>& tensor) {
  return tensor ? std::optional<Tensor>(as_wide(*tensor)) : std::nullopt;
}

inline WideNumbers wide_numbers(const std::optional<Tensor>& wide) {
  if (!wide) return {nullptr, nullptr};
  if (wide->scalar_type() == ScalarType::Double) return {nullptr, data<double>(*wide)};
  return {data<float>(*wide), nullptr};
}

// The side of a map's cells in the unit of positions.
inline void check_step(const char* op, double step) {
  if (!(step > 0 && step < kInfinite<double>)) check_failed(op, "step must be above 0 and finite, got ", step);
}

}  // namespace ldie
