// SPDX-License-Identifier: Apache-2.0
#include "masks/rle_decode.h"

#include "core/library_tensors.h"
#include "masks/mask_output_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

// Into `out`, or new masks.
Tensor decode(const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width, bool packed,
              const std::optional<Tensor>& out) {
  constexpr const char* op = "rle_decode";
  const RleTensors runs = sized_rle(op, counts, offsets, height, width);
  const DrawnMasks masks =
      masks_to_draw(op, {runs.count(), height, width, packed}, {{"counts", counts}, {"offsets", offsets}}, out);
  if (masks.tensor.numel() == 0) return masks.tensor;
  TensorContext context(counts);
  rle_decode({runs.set(), masks.out}, context);
  return masks.tensor;
}

Tensor rle_decode_op(const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width, bool packed) {
  return decode(counts, offsets, height, width, packed, std::nullopt);
}

void rle_decode_out_op(const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width, bool packed,
                       const Tensor& out) {
  decode(counts, offsets, height, width, packed, out);
}

LDIE_OP(rle_decode, rle_decode_op,
        "(Tensor counts, Tensor offsets, SymInt height, SymInt width, bool packed) -> Tensor");
LDIE_OP(rle_decode_out, rle_decode_out_op,
        "(Tensor counts, Tensor offsets, SymInt height, SymInt width, bool packed, Tensor(a!) out) -> ()");

}  // namespace
}  // namespace ldie::masks
