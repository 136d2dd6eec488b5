// SPDX-License-Identifier: Apache-2.0
// The tensor side of masks: what all ops that take them dense, packed or as run lengths check.
#pragma once

#include "masks/mask_set.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {

inline void check_pixels(const char* op, const char* name, int64_t height, int64_t width) {
  check_map_size(op, height, width);
  if (height * width >= int64_t(1) << 31) {
    check_failed(op, name, " must have less than 2^31 pixels each, got size (", height, ", ", width, ")");
  }
}

inline void check_masks(const char* op, const char* name, const Tensor& masks) {
  const ScalarType dtype = masks.scalar_type();
  if (dtype != ScalarType::Bool && dtype != ScalarType::Byte) {
    check_failed(op, name, " must be bool, or uint8 when packed, got ", describe(masks));
  }
  check_shape(op, name, masks, {kAnySize, kAnySize, kAnySize}, "[N, H, W]");
  check_pixels(op, name, masks.size(1), masks.size(2) * (dtype == ScalarType::Byte ? 8 : 1));
}

// Of checked, contiguous tensors.
inline MaskSet mask_set(const Tensor& masks) {
  const bool packed = masks.scalar_type() == ScalarType::Byte;
  MaskSet set{};
  set.form = packed ? MaskForm::packed : MaskForm::dense;
  set.masks = data<uint8_t>(masks);
  set.count = masks.size(0);
  set.height = masks.size(1);
  set.width = masks.size(2) * (packed ? 8 : 1);
  return set;
}

inline MaskSet mask_set(const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width) {
  MaskSet set{};
  set.form = MaskForm::runs;
  set.counts = data<int32_t>(counts);
  set.offsets = data<int64_t>(offsets);
  set.runs = counts.size(0);
  set.count = offsets.size(0) - 1;
  set.height = height;
  set.width = width;
  return set;
}

}  // namespace ldie::masks
