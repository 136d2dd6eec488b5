// SPDX-License-Identifier: Apache-2.0
#include "masks/solo_assign.h"

#include <cmath>
#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "masks/mask_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "solo_assign";

void check_objects(const Tensor& boxes_, const Tensor& labels, const Tensor& centers, const Tensor& areas,
                   const Tensor& offsets) {
  const Argument boxes = Argument(kOp, "boxes", boxes_).float_or_double().shape({kAnySize, 4}, "[G, 4]");
  const int64_t rows = boxes.size(0);
  Argument(kOp, "labels", labels).dtype(ScalarType::Long).shape({rows}, "[G], one per box").device_of(boxes);
  Argument(kOp, "centers", centers).dtype_of(boxes).shape({rows, 2}, "[G, 2], one per box").device_of(boxes);
  Argument(kOp, "areas", areas).dtype(ScalarType::Long).shape({rows}, "[G], one per box").device_of(boxes);
  Argument(kOp, "offsets", offsets).device_of(boxes).offsets(rows);
}

void check_object_masks(const Tensor& masks_, int64_t height, int64_t width, bool packed, const Tensor& boxes_) {
  check_masks(kOp, "masks", masks_, width, packed);
  const Argument masks(kOp, "masks", masks_), boxes(kOp, "boxes", boxes_);
  if (masks.size(0) != boxes.size(0) || masks.size(1) != height) {
    masks.fail("must be ", boxes.size(0), ", one per box, of height ", height);
  }
  masks.device_of(boxes);
}

SoloGrids make_grids(const std::vector<int64_t>& sides, const std::vector<double>& scale_ranges) {
  if (int64_t(sides.size()) > kMostGrids) {
    check_failed(kOp, "grids must be those of at most ", kMostGrids, " levels, got ", sides.size());
  }
  if (scale_ranges.size() != 2 * sides.size()) {
    check_failed(kOp, "scale_ranges must have a pair for each of the ", sides.size(), " levels of grids, got ",
                 scale_ranges.size(), " numbers");
  }
  SoloGrids grids;
  for (size_t i = 0; i < sides.size(); ++i) {
    const int64_t side = sides[i];
    const double low = scale_ranges[2 * i], high = scale_ranges[2 * i + 1];
    if (side < 1 || side > kMostGridSide) {
      check_failed(kOp, "grids must be 1 to ", kMostGridSide, " cells a side, got ", side);
    }
    if (!(low <= high)) check_failed(kOp, "scale_ranges must be pairs low <= high, got (", low, ", ", high, ")");
    grids.levels[grids.count++] = {side, low, high, grids.cells};
    grids.cells += side * side;
  }
  return grids;
}

std::tuple<Tensor, Tensor> solo_assign_op(const Tensor& boxes_, const Tensor& labels_, const Tensor& centers_,
                                          const Tensor& areas_, const Tensor& offsets_, int64_t height, int64_t width,
                                          const std::vector<int64_t>& sides, const std::vector<double>& scale_ranges,
                                          double sigma, bool skip_empty, bool clamp, bool by_area,
                                          const std::optional<Tensor>& masks_, bool packed) {
  check_objects(boxes_, labels_, centers_, areas_, offsets_);
  check_map_size(kOp, height, width);
  if (height == 0 || width == 0) check_failed(kOp, "size must be at least 1, got (", height, ", ", width, ")");
  const SoloGrids grids = make_grids(sides, scale_ranges);
  if (!(sigma >= 0) || std::isinf(sigma)) check_failed(kOp, "sigma must be at least 0 and finite, got ", sigma);
  if (masks_) check_object_masks(*masks_, height, width, packed, boxes_);
  const Tensor boxes = as_contiguous(boxes_), labels = as_contiguous(labels_), centers = as_contiguous(centers_);
  const Tensor areas = as_contiguous(areas_), offsets = as_contiguous(offsets_);
  const std::optional<Tensor> masks = as_contiguous(masks_);
  const int64_t batch = offsets.size(0) - 1;
  Tensor cell_labels = make_empty(labels, {batch, grids.cells});
  Tensor cell_instances = make_empty(labels, {batch, grids.cells});
  if (cell_labels.numel() == 0) return {cell_labels, cell_instances};

  launch_wide(boxes, [&]<typename T>(Context& context) {
    solo_assign<T>({.boxes = data<T>(boxes),
                    .labels = data<int64_t>(labels),
                    .centers = data<T>(centers),
                    .areas = data<int64_t>(areas),
                    .offsets = data<int64_t>(offsets),
                    .rows = boxes.size(0),
                    .batch = batch,
                    .height = height,
                    .width = width,
                    .grids = grids,
                    .half_sigma = sigma / 2,
                    .skip_empty = skip_empty,
                    .clamp = clamp,
                    .by_area = by_area,
                    .by_mask = masks.has_value(),
                    .masks = masks ? mask_set(*masks, width) : MaskSet{},
                    .cell_labels = mutable_data<int64_t>(cell_labels),
                    .cell_instances = mutable_data<int64_t>(cell_instances)},
                   context);
  });
  return {cell_labels, cell_instances};
}

LDIE_OP(solo_assign, solo_assign_op,
        "(Tensor boxes, Tensor labels, Tensor centers, Tensor areas, Tensor offsets, SymInt height, SymInt width, "
        "int[] grids, float[] scale_ranges, float sigma, bool skip_empty, bool clamp, bool by_area, Tensor? masks, "
        "bool packed) -> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::masks
