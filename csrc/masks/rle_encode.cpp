// SPDX-License-Identifier: Apache-2.0
#include "masks/rle_encode.h"

#include <tuple>

#include "core/library_tensors.h"
#include "masks/mask_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

std::tuple<Tensor, Tensor> rle_encode_op(const Tensor& masks_, int64_t width, bool packed,
                                         std::optional<int64_t> max_runs) {
  constexpr const char* op = "rle_encode";
  check_masks(op, "masks", masks_, width, packed);
  const Tensor masks = as_contiguous(masks_);
  Tensor offsets = make_empty(masks, {masks.size(0) + 1}, ScalarType::Long);
  TensorRuns runs(op, offsets, max_runs);
  TensorContext context(masks);
  rle_encode({mask_set(masks, width), mutable_data<int64_t>(offsets)}, runs, context);
  return {runs.counts(), offsets};
}

LDIE_OP(rle_encode, rle_encode_op, "(Tensor masks, SymInt width, bool packed, SymInt? max_runs) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::masks
