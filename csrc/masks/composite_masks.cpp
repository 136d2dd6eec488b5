// SPDX-License-Identifier: Apache-2.0
#include "masks/composite_masks.h"

#include <vector>

#include "core/library_tensors.h"
#include "masks/mask_output_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "composite_masks";
using Sides = std::vector<int64_t>;

struct PictureSize {
  int64_t height, width;
};

// (height, width) of a picture between, of which there is at least a pixel; `none` when the list is empty.
PictureSize picture_size(const char* name, const Sides& sides, PictureSize none) {
  if (sides.empty()) return none;
  if (sides.size() != 2) check_failed(kOp, name, " must be (height, width), got ", sides.size(), " numbers");
  check_side(kOp, name, sides[0]);
  check_side(kOp, name, sides[1]);
  return {sides[0], sides[1]};
}

int64_t check_inputs(const Tensor& maps_, const std::optional<Tensor>& index, const std::optional<Tensor>& scores) {
  const Argument maps = Argument(kOp, "maps", maps_).floating().shape({kAnySize, kAnySize, kAnySize}, "[R, h, w]");
  if (maps.size(1) < 1 || maps.size(2) < 1) maps.fail("must have at least a cell each");
  check_map_size(kOp, maps.size(1), maps.size(2));
  if (index) Argument(kOp, "index", *index).dtype(ScalarType::Long).shape({kAnySize}, "[K]").device_of(maps);
  const int64_t count = index ? index->size(0) : maps.size(0);
  (index ? Argument(kOp, "index", *index) : maps).fewer_than_2_31(count, "masks");
  if (scores) {
    const Argument given = Argument(kOp, "scores", *scores).dtype(ScalarType::Double);
    given.shape({count}, "[K], one per mask").device_of(maps);
  }
  return count;
}

Tensor composite_masks_op(const Tensor& maps_, const std::optional<Tensor>& index_,
                          const std::optional<Tensor>& scores_, int64_t height, int64_t width, double threshold,
                          const Sides& between_, const Sides& crop_, bool align_corners, bool exclusive, bool packed) {
  const int64_t count = check_inputs(maps_, index_, scores_);
  check_map_size(kOp, height, width);
  const PictureSize between = picture_size("between", between_, {0, 0});
  const PictureSize whole = between_.empty() ? PictureSize{maps_.size(1), maps_.size(2)} : between;
  const PictureSize crop = picture_size("crop", crop_, whole);
  if (crop.height > whole.height || crop.width > whole.width) {
    check_failed(kOp, "crop must be at most ", between_.empty() ? "the maps, without between" : "between", ", (",
                 whole.height, ", ", whole.width, "), got (", crop.height, ", ", crop.width, ")");
  }
  const DrawnMasks drawn = masks_to_draw(kOp, {count, height, width, packed}, {{"maps", maps_}}, std::nullopt);
  if (drawn.tensor.numel() == 0) return drawn.tensor;

  const Tensor maps = as_contiguous(maps_);
  const std::optional<Tensor> index = as_contiguous(index_), scores = as_contiguous(scores_);
  launch_floating(maps, [&]<typename T>(Context& context) {
    composite_masks<T>({.maps = data<T>(maps),
                        .rows = maps.size(0),
                        .height = maps.size(1),
                        .width = maps.size(2),
                        .index = index ? data<int64_t>(*index) : nullptr,
                        .scores = scores ? data<double>(*scores) : nullptr,
                        .count = count,
                        .between_height = between.height,
                        .between_width = between.width,
                        .crop_height = crop.height,
                        .crop_width = crop.width,
                        .align_corners = align_corners,
                        .threshold = threshold,
                        .exclusive = exclusive,
                        .out = drawn.out},
                       context);
  });
  return drawn.tensor;
}

LDIE_OP(composite_masks, composite_masks_op,
        "(Tensor maps, Tensor? index, Tensor? scores, SymInt height, SymInt width, float threshold, SymInt[] between, "
        "SymInt[] crop, bool align_corners, bool exclusive, bool packed) -> Tensor");

}  // namespace
}  // namespace ldie::masks
