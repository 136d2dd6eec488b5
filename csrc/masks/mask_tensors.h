// SPDX-License-Identifier: Apache-2.0
// The tensor side of masks: what all ops that take them dense, packed or as run lengths check.
#pragma once

#include "core/integers.h"
#include "masks/mask_set.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {

inline void check_pixels(const char* op, const char* name, int64_t height, int64_t width) {
  check_map_size(op, height, width);
  if (height * width >= int64_t(1) << 31) {
    check_failed(op, name, " must have less than 2^31 pixels each, got size (", height, ", ", width, ")");
  }
}

// `width` is that of the masks: bytes of zeros and ones look like packed ones.
inline void check_masks(const char* op, const char* name, const Tensor& masks, int64_t width, bool packed) {
  check_dtype(op, name, masks, packed ? ScalarType::Byte : ScalarType::Bool);
  check_map_size(op, 0, width);
  if (masks.dim() != 3 || (!packed && masks.size(2) != width)) {
    check_failed(op, name, " must have shape [N, H, W], got ", describe(masks));
  }
  if (packed && masks.size(2) != ceil_div(width, 8)) {
    check_failed(op, name, " packed to a packed_width of ", width, " must have shape [N, H, ", ceil_div(width, 8),
                 "], got ", describe(masks));
  }
  check_pixels(op, name, masks.size(1), width);
}

// Of checked, contiguous tensors.
inline MaskSet mask_set(const Tensor& masks, int64_t width) {
  const bool packed = masks.scalar_type() == ScalarType::Byte;
  MaskSet set{};
  set.form = packed ? MaskForm::packed : MaskForm::dense;
  set.masks = data<uint8_t>(masks);
  set.count = masks.size(0);
  set.height = masks.size(1);
  set.width = width;
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
