// SPDX-License-Identifier: Apache-2.0
#include "masks/polygons_to_masks.h"

#include "core/library_tensors.h"
#include "masks/mask_output_tensors.h"
#include "masks/polygon_tensors.h"

namespace ldie::masks {
namespace {

// Into `out`, or new masks.
Tensor draw(const Tensor& coords, const Tensor& part_offsets, const Tensor& instance_offsets, int64_t height,
            int64_t width, bool packed, const std::optional<Tensor>& out) {
  constexpr const char* op = "polygons_to_masks";
  const PolygonTensors polygons(op, coords, part_offsets, instance_offsets);
  check_map_size(op, height, width);
  const DrawnMasks masks =
      masks_to_draw(op, {polygons.instances(), height, width, packed},
                    {{"coords", coords}, {"part_offsets", part_offsets}, {"instance_offsets", instance_offsets}}, out);
  if (masks.tensor.numel() == 0) return masks.tensor;
  TensorContext context(coords);
  polygons_to_masks({polygons.set(), masks.out}, context);
  return masks.tensor;
}

Tensor polygons_to_masks_op(const Tensor& coords, const Tensor& part_offsets, const Tensor& instance_offsets,
                            int64_t height, int64_t width, bool packed) {
  return draw(coords, part_offsets, instance_offsets, height, width, packed, std::nullopt);
}

void polygons_to_masks_out_op(const Tensor& coords, const Tensor& part_offsets, const Tensor& instance_offsets,
                              int64_t height, int64_t width, bool packed, const Tensor& out) {
  draw(coords, part_offsets, instance_offsets, height, width, packed, out);
}

LDIE_OP(polygons_to_masks, polygons_to_masks_op,
        "(Tensor coords, Tensor part_offsets, Tensor instance_offsets, SymInt height, SymInt width, bool packed) -> "
        "Tensor");
LDIE_OP(polygons_to_masks_out, polygons_to_masks_out_op,
        "(Tensor coords, Tensor part_offsets, Tensor instance_offsets, SymInt height, SymInt width, bool packed, "
        "Tensor(a!) out) -> ()");

}  // namespace
}  // namespace ldie::masks
