// SPDX-License-Identifier: Apache-2.0
// The tensor side of ops that draw masks [count, height, width], bool or packed: a new tensor, or one that was given.
#pragma once

#include "core/argument_tensors.h"
#include "core/bits.h"
#include "core/tensors.h"

namespace ldie::masks {

struct MaskShape {
  int64_t count, height, width;
  bool packed;

  int64_t row_bytes() const { return mask_row_bytes(width, packed); }
  ScalarType dtype() const { return packed ? ScalarType::Byte : ScalarType::Bool; }
};

inline MostlyZero make_masks(const Tensor& like, const MaskShape& shape) {
  return make_mostly_zero(like, {shape.count, shape.height, shape.row_bytes()}, shape.dtype());
}

inline void check_out(const char* op, const Tensor& out, const MaskShape& shape, const char* other_name,
                      const Tensor& other) {
  check_dtype(op, "out", out, shape.dtype());
  check_shape(op, "out", out, {shape.count, shape.height, shape.row_bytes()},
              shape.packed ? "[N, H, ceil(W / 8)]" : "[N, H, W]");
  check_same_device(op, "out", out, other_name, other);
  if (!out.is_contiguous()) check_failed(op, "out must be contiguous");
}

}  // namespace ldie::masks
