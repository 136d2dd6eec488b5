// SPDX-License-Identifier: Apache-2.0
#include "masks/mask_target_pyramid.h"

#include <array>
#include <tuple>
#include <vector>

#include "core/library_tensors.h"
#include "masks/mask_tensors.h"
#include "masks/polygon_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

constexpr const char* kOp = "mask_target_pyramid";

using Integers = std::vector<int64_t>;
using Outputs = std::tuple<Tensor, Tensor, Tensor>;

void check_strides(const Integers& strides) {
  if (strides.empty() || strides.size() > size_t(kMostStrides)) {
    check_failed(kOp, "strides must be 1 to ", kMostStrides, " numbers, got ", strides.size());
  }
  int64_t before = 0;
  for (const int64_t stride : strides) {
    const bool power = stride >= 1 && stride <= kLargestStride && (stride & (stride - 1)) == 0;
    if (!power || stride <= before) {
      check_failed(kOp, "strides must be powers of two from 1 to ", kLargestStride, " that rise, got ", stride,
                   before > 0 ? " after " : "", before > 0 ? std::to_string(before) : "");
    }
    before = stride;
  }
}

struct Levels {
  std::array<MaskLevel, kMostStrides> all{};
  int64_t size = 0;  // bytes or fractions of all masks
};

Levels make_levels(const MaskSet& masks, const Integers& strides, bool packed) {
  Levels levels;
  for (size_t i = 0; i < strides.size(); ++i) {
    const int64_t height = ceil_div(masks.height, strides[i]), width = ceil_div(masks.width, strides[i]);
    levels.all[i] = {strides[i], height, width, levels.size};
    levels.size += masks.count * height * mask_row_bytes(width, packed);
  }
  return levels;
}

Outputs make_pyramid(const MaskSet& masks, const Tensor& like, const Integers& strides, PyramidMode mode, bool packed) {
  const bool shares = mode == PyramidMode::fraction;
  if (masks.count >= int64_t(1) << 31) check_failed(kOp, "masks must be fewer than 2^31, got ", masks.count);
  if (shares && packed) check_failed(kOp, "packed must be false where cells are fractions");
  const Levels levels = make_levels(masks, strides, packed);
  const ScalarType dtype = shares ? ScalarType::Float : packed ? ScalarType::Byte : ScalarType::Bool;
  auto [cells, zeroed] = make_mostly_zero(like, {levels.size}, dtype);
  Tensor centers = make_empty(like, {masks.count, 2}, ScalarType::Float);
  Tensor areas = make_empty(like, {masks.count}, ScalarType::Long);
  MaskTargetPyramid args{.centers = {masks, mutable_data<float>(centers), mutable_data<int64_t>(areas)},
                         .levels = {},
                         .count = int(strides.size()),
                         .mode = mode,
                         .packed = packed,
                         .zeroed = zeroed,
                         .cells = shares ? nullptr : mutable_data<uint8_t>(cells),
                         .fractions = shares ? mutable_data<float>(cells) : nullptr};
  std::copy(levels.all.begin(), levels.all.end(), args.levels);
  TensorContext context(like);
  mask_target_pyramid(args, context);
  return {cells, centers, areas};
}

Outputs mask_target_pyramid_op(const Tensor& masks_, int64_t width, bool packed_masks, const Integers& strides,
                               int64_t mode, bool packed) {
  check_masks(kOp, "masks", masks_, width, packed_masks);
  check_strides(strides);
  const Tensor masks = as_contiguous(masks_);
  return make_pyramid(mask_set(masks, width), masks, strides, checked_option<PyramidMode>(kOp, "mode", mode), packed);
}

Outputs mask_target_pyramid_rle_op(const Tensor& counts, const Tensor& offsets, int64_t height, int64_t width,
                                   const Integers& strides, int64_t mode, bool packed) {
  check_pixels(kOp, "masks", height, width);
  check_strides(strides);
  const RleTensors runs = sized_rle(kOp, counts, offsets, height, width);
  return make_pyramid(mask_set(runs.set(), height, width), counts, strides,
                      checked_option<PyramidMode>(kOp, "mode", mode), packed);
}

Outputs mask_target_pyramid_polygons_op(const Tensor& coords, const Tensor& part_offsets,
                                        const Tensor& instance_offsets, int64_t height, int64_t width,
                                        const Integers& strides, int64_t mode, bool packed) {
  check_pixels(kOp, "masks", height, width);
  check_strides(strides);
  const PolygonTensors polygons(kOp, coords, part_offsets, instance_offsets);
  return make_pyramid(mask_set(polygons.set(), height, width), coords, strides,
                      checked_option<PyramidMode>(kOp, "mode", mode), packed);
}

LDIE_OP(mask_target_pyramid, mask_target_pyramid_op,
        "(Tensor masks, SymInt width, bool packed_masks, int[] strides, int mode, bool packed) -> (Tensor, Tensor, "
        "Tensor)");
LDIE_OP(mask_target_pyramid_rle, mask_target_pyramid_rle_op,
        "(Tensor counts, Tensor offsets, SymInt height, SymInt width, int[] strides, int mode, bool packed) -> "
        "(Tensor, Tensor, Tensor)");
LDIE_OP(mask_target_pyramid_polygons, mask_target_pyramid_polygons_op,
        "(Tensor coords, Tensor part_offsets, Tensor instance_offsets, SymInt height, SymInt width, int[] strides, int "
        "mode, bool packed) -> (Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace ldie::masks
