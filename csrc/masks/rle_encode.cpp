// SPDX-License-Identifier: Apache-2.0
#include "masks/rle_encode.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include <tuple>

#include "core/check.h"
#include "core/library.h"
#include "core/tensor.h"

namespace ldie {
namespace {

// As many runs as there are, which waits for the device, or a fixed number, which does not.
class TensorRuns final : public RunAllocator {
 public:
  TensorRuns(Tensor& offsets, std::optional<int64_t> max_runs) : offsets_(offsets), max_runs_(max_runs) {}

  Runs allocate() override {
    int64_t capacity = 0;
    if (max_runs_) {
      capacity = *max_runs_;
    } else {
      const Tensor total = torch::stable::narrow(offsets_, 0, offsets_.size(0) - 1, 1);
      TORCH_ERROR_CODE_CHECK(aoti_torch_item_int64(total.get(), &capacity));
    }
    counts_ = max_runs_ ? make_zeros(offsets_, {capacity}, ScalarType::Int)
                        : make_empty(offsets_, {capacity}, ScalarType::Int);
    return {mutable_data<int32_t>(*counts_), capacity};
  }

  const Tensor& counts() const { return *counts_; }

 private:
  Tensor& offsets_;
  std::optional<int64_t> max_runs_;
  std::optional<Tensor> counts_;
};

std::tuple<Tensor, Tensor> rle_encode_op(const Tensor& masks_, int64_t width, bool packed,
                                         std::optional<int64_t> max_runs) {
  constexpr const char* op = "rle_encode";
  check_dtype(op, "masks", masks_, packed ? ScalarType::Byte : ScalarType::Bool);
  if (masks_.dim() != 3) check_failed(op, "masks must have shape [N, H, W], got ", describe(masks_));
  const int64_t height = masks_.size(1);
  check_map_size(op, height, width);
  if (packed && masks_.size(2) != (width + 7) / 8) {
    check_failed(op, "packed masks of width ", width, " must have shape [N, H, ", (width + 7) / 8, "], got ",
                 describe(masks_));
  }
  if (height * width >= int64_t(1) << 31) {
    check_failed(op, "masks must have less than 2^31 pixels each, got ", describe(masks_));
  }
  if (max_runs && *max_runs < 0) check_failed(op, "max_runs must be at least 0, got ", *max_runs);

  const Tensor masks = as_contiguous(masks_);
  Tensor offsets = make_empty(masks, {masks.size(0) + 1}, ScalarType::Long);
  TensorContext context(masks);
  RleEncode args;
  args.masks = data<uint8_t>(masks);
  args.count = masks.size(0);
  args.height = height;
  args.width = width;
  args.packed = packed;
  args.offsets = mutable_data<int64_t>(offsets);
  TensorRuns runs(offsets, max_runs);
  rle_encode(args, runs, context);
  return {runs.counts(), offsets};
}

LDIE_SCHEMA("rle_encode(Tensor masks, SymInt width, bool packed, SymInt? max_runs) -> (Tensor, Tensor)");
LDIE_REGISTER("rle_encode", rle_encode_op)

}  // namespace
}  // namespace ldie
