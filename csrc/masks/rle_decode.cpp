// SPDX-License-Identifier: Apache-2.0
#include "masks/rle_decode.h"

#include "core/library_tensors.h"
#include "masks/mask_output_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "rle_decode";

void decode(const Tensor& counts_, const Tensor& offsets_, int64_t height, int64_t width, bool packed, Tensor& masks,
            bool zeroed) {
  if (masks.numel() == 0) return;
  const Tensor counts = as_contiguous(counts_), offsets = as_contiguous(offsets_);
  TensorContext context(masks);
  RleDecode args;
  args.counts = data<int32_t>(counts);
  args.offsets = data<int64_t>(offsets);
  args.runs = counts.size(0);
  args.count = offsets.size(0) - 1;
  args.height = height;
  args.width = width;
  args.packed = packed;
  args.zeroed = zeroed;
  args.masks = mutable_data<uint8_t>(masks);
  rle_decode(args, context);
}

Tensor rle_decode_op(const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width, bool packed) {
  check_runs(kOp, counts, offsets, height, width);
  MostlyZero masks = make_masks(counts, {offsets.size(0) - 1, height, width, packed});
  decode(counts, offsets, height, width, packed, masks.tensor, masks.zeroed);
  return masks.tensor;
}

void rle_decode_out_op(const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width, bool packed,
                       Tensor out) {
  check_runs(kOp, counts, offsets, height, width);
  check_out(kOp, out, {offsets.size(0) - 1, height, width, packed}, "counts", counts);
  check_apart(kOp, out, "counts", counts);
  check_apart(kOp, out, "offsets", offsets);
  decode(counts, offsets, height, width, packed, out, false);
}

LDIE_SCHEMA("rle_decode(Tensor counts, Tensor offsets, SymInt height, SymInt width, bool packed) -> Tensor");
LDIE_REGISTER("rle_decode", rle_decode_op)
LDIE_SCHEMA(
    "rle_decode_out(Tensor counts, Tensor offsets, SymInt height, SymInt width, bool packed, Tensor(a!) out) -> ()");
LDIE_REGISTER("rle_decode_out", rle_decode_out_op)

}  // namespace
}  // namespace ldie::masks
