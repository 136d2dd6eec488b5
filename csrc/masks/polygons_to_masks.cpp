// SPDX-License-Identifier: Apache-2.0
#include "masks/polygons_to_masks.h"

#include "core/library_tensors.h"
#include "masks/mask_output_tensors.h"
#include "masks/polygon_tensors.h"

namespace ldie::masks {
namespace {

void draw(const PolygonTensors& polygons, Tensor& masks, int64_t height, int64_t width, bool packed, bool zeroed) {
  if (masks.numel() == 0) return;
  TensorContext context(masks);
  PolygonsToMasks args;
  args.polygons = polygons.set();
  args.height = height;
  args.width = width;
  args.packed = packed;
  args.zeroed = zeroed;
  args.masks = mutable_data<uint8_t>(masks);
  polygons_to_masks(args, context);
}

Tensor polygons_to_masks_op(const Tensor& coords, const Tensor& part_offsets, const Tensor& instance_offsets,
                            int64_t height, int64_t width, bool packed) {
  constexpr const char* op = "polygons_to_masks";
  const PolygonTensors polygons(op, coords, part_offsets, instance_offsets);
  check_map_size(op, height, width);
  MostlyZero masks = make_masks(coords, {polygons.instances(), height, width, packed});
  draw(polygons, masks.tensor, height, width, packed, masks.zeroed);
  return masks.tensor;
}

void polygons_to_masks_out_op(const Tensor& coords, const Tensor& part_offsets, const Tensor& instance_offsets,
                              int64_t height, int64_t width, bool packed, Tensor out) {
  constexpr const char* op = "polygons_to_masks";
  const PolygonTensors polygons(op, coords, part_offsets, instance_offsets);
  check_map_size(op, height, width);
  check_out(op, out, {polygons.instances(), height, width, packed}, "coords", coords);
  check_apart(op, out, "coords", coords);
  check_apart(op, out, "part_offsets", part_offsets);
  check_apart(op, out, "instance_offsets", instance_offsets);
  draw(polygons, out, height, width, packed, false);
}

LDIE_SCHEMA(
    "polygons_to_masks(Tensor coords, Tensor part_offsets, Tensor instance_offsets, SymInt height, SymInt width, "
    "bool packed) -> Tensor");
LDIE_REGISTER("polygons_to_masks", polygons_to_masks_op)
LDIE_SCHEMA(
    "polygons_to_masks_out(Tensor coords, Tensor part_offsets, Tensor instance_offsets, SymInt height, SymInt width, "
    "bool packed, Tensor(a!) out) -> ()");
LDIE_REGISTER("polygons_to_masks_out", polygons_to_masks_out_op)

}  // namespace
}  // namespace ldie::masks
