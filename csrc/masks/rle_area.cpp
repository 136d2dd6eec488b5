// SPDX-License-Identifier: Apache-2.0
#include "masks/rle_area.h"

#include "core/library_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

Tensor rle_area_op(const Tensor& counts_, const Tensor& offsets_) {
  check_counts_and_offsets("rle_area", counts_, offsets_);
  const Tensor counts = as_contiguous(counts_), offsets = as_contiguous(offsets_);
  const int64_t count = offsets.size(0) - 1;
  Tensor areas = make_empty(counts, {count}, ScalarType::Long);
  TensorContext context(counts);
  rle_area({data<int32_t>(counts), data<int64_t>(offsets), counts.size(0), count, mutable_data<int64_t>(areas)},
           context);
  return areas;
}

LDIE_SCHEMA("rle_area(Tensor counts, Tensor offsets) -> Tensor");
LDIE_REGISTER("rle_area", rle_area_op)

}  // namespace
}  // namespace ldie::masks
