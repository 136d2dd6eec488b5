// SPDX-License-Identifier: Apache-2.0
#include "masks/rle_area.h"

#include "core/library_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

Tensor rle_area_op(const Tensor& counts, const Tensor& offsets) {
  const RleTensors masks("rle_area", counts, offsets);
  Tensor areas = make_empty(counts, {masks.count()}, ScalarType::Long);
  TensorContext context(counts);
  rle_area({masks.set(), mutable_data<int64_t>(areas)}, context);
  return areas;
}

LDIE_OP(rle_area, rle_area_op, "(Tensor counts, Tensor offsets) -> Tensor");

}  // namespace
}  // namespace ldie::masks
