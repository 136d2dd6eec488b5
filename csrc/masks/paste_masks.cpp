// SPDX-License-Identifier: Apache-2.0
#include "masks/paste_masks.h"

#include "core/library_tensors.h"
#include "masks/mask_output_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "paste_masks";

void check(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width, double threshold) {
  check_floating(kOp, "masks", masks);
  check_shape(kOp, "masks", masks, {kAnySize, kAnySize, kAnySize}, "[N, h, w]");
  check_shape(kOp, "boxes", boxes, {masks.size(0), 4}, "[N, 4], one per mask");
  check_dtype(kOp, "boxes", boxes, masks.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float);
  check_same_device(kOp, "boxes", boxes, "masks", masks);
  check_map_size(kOp, height, width);
  if (!(threshold > 0)) check_failed(kOp, "threshold must be above 0, got ", threshold);
}

void paste(const Tensor& masks_, const Tensor& boxes_, int64_t height, int64_t width, double threshold, PasteRule rule,
           bool packed, Tensor& output, bool zeroed) {
  if (output.numel() == 0) return;
  const Tensor masks = as_contiguous(masks_), boxes = as_contiguous(boxes_);
  TensorContext context(masks);
  dispatch_floating(masks.scalar_type(), [&](auto element) {
    using T = decltype(element);
    PasteMasks<T> args;
    args.masks = data<T>(masks);
    args.boxes = data<acc_t<T>>(boxes);
    args.count = masks.size(0);
    args.rows = masks.size(1);
    args.columns = masks.size(2);
    args.height = height;
    args.width = width;
    args.threshold = threshold;
    args.rule = rule;
    args.packed = packed;
    args.zeroed = zeroed;
    args.output = mutable_data<uint8_t>(output);
    paste_masks(args, context);
  });
}

Tensor paste_masks_op(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width, double threshold,
                      int64_t rule_, bool packed) {
  const auto rule = checked_option<PasteRule>(kOp, "rule", rule_);
  check(masks, boxes, height, width, threshold);
  MostlyZero output = make_masks(masks, {masks.size(0), height, width, packed});
  paste(masks, boxes, height, width, threshold, rule, packed, output.tensor, output.zeroed);
  return output.tensor;
}

void paste_masks_out_op(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width, double threshold,
                        int64_t rule_, bool packed, Tensor out) {
  const auto rule = checked_option<PasteRule>(kOp, "rule", rule_);
  check(masks, boxes, height, width, threshold);
  check_out(kOp, out, {masks.size(0), height, width, packed}, "masks", masks);
  check_apart(kOp, out, "masks", masks);
  check_apart(kOp, out, "boxes", boxes);
  paste(masks, boxes, height, width, threshold, rule, packed, out, false);
}

LDIE_SCHEMA(
    "paste_masks(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold, int rule, bool packed) "
    "-> Tensor");
LDIE_REGISTER("paste_masks", paste_masks_op)
LDIE_SCHEMA(
    "paste_masks_out(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold, int rule, bool packed, "
    "Tensor(a!) out) -> ()");
LDIE_REGISTER("paste_masks_out", paste_masks_out_op)

}  // namespace
}  // namespace ldie::masks
