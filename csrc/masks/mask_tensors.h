// SPDX-License-Identifier: Apache-2.0
// The tensor side of masks: what all ops that take them dense, packed or as run lengths check.
#pragma once

#include "core/argument_tensors.h"
#include "core/integers.h"
#include "masks/mask_set.h"

namespace ldie::masks {

inline void check_pixels(const char* op, const char* name, int64_t height, int64_t width) {
  check_map_size(op, height, width);
  if (height * width >= int64_t(1) << 31) {
    check_failed(op, name, " must have less than 2^31 pixels each, got size (", height, ", ", width, ")");
  }
}

// `width` is that of the masks: bytes of zeros and ones look like packed ones.
inline void check_masks(const char* op, const char* name, const Tensor& masks_, int64_t width, bool packed) {
  const Argument masks = Argument(op, name, masks_).dtype(packed ? ScalarType::Byte : ScalarType::Bool);
  if (packed && (width < 0 || width > int64_t(1) << 30)) {
    check_failed(op, "packed_width must be at least 0 and at most 2^30, got ", width);
  }
  check_map_size(op, 0, width);
  if (masks_.dim() != 3 || (!packed && masks.size(2) != width)) masks.fail("must have shape [N, H, W]");
  if (packed && masks.size(2) != ceil_div(width, 8)) {
    masks.fail("packed to a packed_width of ", width, " must have shape [N, H, ", ceil_div(width, 8), "]");
  }
  check_pixels(op, name, masks.size(1), width);
}

// Of checked, contiguous tensors.
inline MaskSet mask_set(const Tensor& masks, int64_t width) {
  const MaskForm form = masks.scalar_type() == ScalarType::Byte ? MaskForm::packed : MaskForm::dense;
  return {form, data<uint8_t>(masks), RunSet{}, masks.size(0), masks.size(1), width};
}

inline MaskSet mask_set(const RunSet& runs, int64_t height, int64_t width) {
  return {MaskForm::runs, nullptr, runs, runs.count, height, width};
}

inline MaskSet mask_set(const PolygonSet& polygons, int64_t height, int64_t width) {
  return {MaskForm::polygons, nullptr, RunSet{}, polygons.instances, height, width, polygons};
}

}  // namespace ldie::masks
