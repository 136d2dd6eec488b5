// SPDX-License-Identifier: Apache-2.0
#include "masks/paste_masks.h"

#include "core/library_tensors.h"
#include "masks/mask_output_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "paste_masks";

// Into `out`, or new masks.
Tensor paste(const Tensor& masks_, const Tensor& boxes_, int64_t height, int64_t width, double threshold, int64_t rule_,
             bool packed, const std::optional<Tensor>& out) {
  const auto rule = checked_option<PasteRule>(kOp, "rule", rule_);
  const Argument given = Argument(kOp, "masks", masks_).floating().shape({kAnySize, kAnySize, kAnySize}, "[N, h, w]");
  Argument(kOp, "boxes", boxes_)
      .shape({given.size(0), 4}, "[N, 4], one per mask")
      .dtype(acc_dtype(masks_))
      .device_of(given);
  check_map_size(kOp, height, width);
  if (!(threshold > 0)) check_failed(kOp, "threshold must be above 0, got ", threshold);
  const DrawnMasks drawn =
      masks_to_draw(kOp, {given.size(0), height, width, packed}, {{"masks", masks_}, {"boxes", boxes_}}, out);
  if (drawn.tensor.numel() == 0) return drawn.tensor;

  const Tensor masks = as_contiguous(masks_), boxes = as_contiguous(boxes_);
  launch_floating(masks, [&]<typename T>(Context& context) {
    paste_masks<T>({data<T>(masks), data<acc_t<T>>(boxes), masks.size(0), masks.size(1), masks.size(2), threshold, rule,
                    drawn.out},
                   context);
  });
  return drawn.tensor;
}

Tensor paste_masks_op(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width, double threshold,
                      int64_t rule, bool packed) {
  return paste(masks, boxes, height, width, threshold, rule, packed, std::nullopt);
}

void paste_masks_out_op(const Tensor& masks, const Tensor& boxes, int64_t height, int64_t width, double threshold,
                        int64_t rule, bool packed, const Tensor& out) {
  paste(masks, boxes, height, width, threshold, rule, packed, out);
}

LDIE_OP(paste_masks, paste_masks_op,
        "(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold, int rule, bool packed) -> Tensor");
LDIE_OP(paste_masks_out, paste_masks_out_op,
        "(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold, int rule, bool packed, Tensor(a!) "
        "out) -> ()");

}  // namespace
}  // namespace ldie::masks
