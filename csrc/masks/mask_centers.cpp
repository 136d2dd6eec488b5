// SPDX-License-Identifier: Apache-2.0
#include "masks/mask_centers.h"

#include <tuple>

#include "core/library_tensors.h"
#include "masks/mask_tensors.h"

namespace ldie::masks {
namespace {

std::tuple<Tensor, Tensor> mask_centers_op(const Tensor& masks_, int64_t width, bool packed) {
  check_masks("mask_centers", "masks", masks_, width, packed);
  const Tensor masks = as_contiguous(masks_);
  Tensor centers = make_empty(masks, {masks.size(0), 2}, ScalarType::Float);
  Tensor areas = make_empty(masks, {masks.size(0)}, ScalarType::Long);
  TensorContext context(masks);
  mask_centers({mask_set(masks, width), mutable_data<float>(centers), mutable_data<int64_t>(areas)}, context);
  return {centers, areas};
}

LDIE_OP(mask_centers, mask_centers_op, "(Tensor masks, SymInt width, bool packed) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::masks
