// SPDX-License-Identifier: Apache-2.0
// The masks that an op draws: new ones, or the caller's.
#pragma once

#include "core/argument_tensors.h"
#include "core/bits.h"
#include "core/tensors.h"
#include "masks/mask_output.h"

namespace ldie::masks {

struct MaskShape {
  int64_t count, height, width;
  bool packed;
};

struct NamedTensor {
  const char* name;
  const Tensor& tensor;
};

struct DrawnMasks {
  Tensor tensor;
  MaskOutput out;
};

// `out`, if there is one, is on the device of the first input and shares memory with none.
inline DrawnMasks masks_to_draw(const char* op, const MaskShape& shape, std::initializer_list<NamedTensor> inputs,
                                std::optional<Tensor> out) {
  const auto [count, height, width, packed] = shape;
  const int64_t row_bytes = mask_row_bytes(width, packed);
  const ScalarType dtype = packed ? ScalarType::Byte : ScalarType::Bool;
  const NamedTensor& like = *inputs.begin();
  if (!out) {
    auto [tensor, zeroed] = make_mostly_zero(like.tensor, {count, height, row_bytes}, dtype);
    return {tensor, {mutable_data<uint8_t>(tensor), height, width, packed, zeroed}};
  }
  Argument(op, "out", *out)
      .dtype(dtype)
      .shape({count, height, row_bytes}, packed ? "[N, H, ceil(W / 8)]" : "[N, H, W]")
      .device_of(Argument(op, like.name, like.tensor));
  if (!out->is_contiguous()) check_failed(op, "out must be contiguous");
  for (const NamedTensor& input : inputs) check_apart(op, *out, input.name, input.tensor);
  return {*out, {mutable_data<uint8_t>(*out), height, width, packed, false}};
}

}  // namespace ldie::masks
