// SPDX-License-Identifier: Apache-2.0
#include "masks/polygons_to_rle.h"

#include <tuple>

#include "core/library_tensors.h"
#include "masks/mask_tensors.h"
#include "masks/polygon_tensors.h"
#include "masks/rle_tensors.h"

namespace ldie::masks {
namespace {

std::tuple<Tensor, Tensor> polygons_to_rle_op(const Tensor& coords, const Tensor& part_offsets,
                                              const Tensor& instance_offsets, int64_t height, int64_t width,
                                              std::optional<int64_t> max_runs) {
  constexpr const char* op = "polygons_to_rle";
  const PolygonTensors polygons(op, coords, part_offsets, instance_offsets);
  check_pixels(op, "masks", height, width);
  Tensor offsets = make_empty(coords, {polygons.instances() + 1}, ScalarType::Long);
  TensorRuns runs(op, offsets, max_runs);
  TensorContext context(coords);
  polygons_to_rle({polygons.set(), height, width, mutable_data<int64_t>(offsets)}, runs, context);
  return {runs.counts(), offsets};
}

LDIE_OP(polygons_to_rle, polygons_to_rle_op,
        "(Tensor coords, Tensor part_offsets, Tensor instance_offsets, SymInt height, SymInt width, SymInt? max_runs) "
        "-> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::masks
