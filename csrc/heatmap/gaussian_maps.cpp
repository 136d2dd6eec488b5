// SPDX-License-Identifier: Apache-2.0
#include "heatmap/gaussian_maps.h"

#include <optional>
#include <vector>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "core/wide_tensors.h"

namespace ldie::heatmap {
namespace {

constexpr const char* kOp = "gaussian_maps";

// One for each centre.
void check_radii(const Tensor& radii, const Argument& centers, const std::vector<int64_t>& leading) {
  const Argument given = Argument(kOp, "radius", radii).floating().device_of(centers);
  bool same = radii.dim() == int64_t(leading.size());
  for (int64_t d = 0; same && d < radii.dim(); ++d) same = radii.size(d) == leading[size_t(d)];
  if (!same) given.fail("must be a number or one for each of the centers");
}

Tensor gaussian_maps_op(const Tensor& centers_, const std::optional<Tensor>& radii_, double radius, double step,
                        int64_t height, int64_t width, int64_t kind_, ScalarType dtype) {
  const Argument given = Argument(kOp, "centers", centers_).floating();
  const int64_t last = centers_.dim() - 1;
  if (last < 0 || centers_.size(last) != 2) given.fail("must have shape [..., 2]");
  const auto given_sizes = centers_.sizes();
  std::vector<int64_t> sizes(given_sizes.begin(), given_sizes.end() - 1);
  if (radii_) check_radii(*radii_, given, sizes);
  check_step(kOp, step);
  check_map_size(kOp, height, width);
  const auto kind = checked_option<GaussianKind>(kOp, "kind", kind_);
  if (!is_floating(dtype)) {
    check_failed(kOp, "dtype must be float32, float64, float16 or bfloat16, got ", dtype_name(dtype));
  }
  sizes.push_back(height);
  sizes.push_back(width);
  Tensor maps = make_in_pages(sizes, dtype, false, [&] { return torch::stable::new_empty(centers_, sizes, dtype); });
  if (maps.numel() == 0) return maps;

  const Tensor centers = as_wide(centers_);
  const std::optional<Tensor> radii = as_wide(radii_);
  launch_floating(maps, [&]<typename T>(Context& context) {
    gaussian_maps<T>({.centers = wide_numbers(centers),
                      .radii = wide_numbers(radii),
                      .radius = radius,
                      .step = step,
                      .kind = kind,
                      .count = centers.numel() / 2,
                      .height = height,
                      .width = width,
                      .maps = mutable_data<T>(maps)},
                     context);
  });
  return maps;
}

LDIE_OP(gaussian_maps, gaussian_maps_op,
        "(Tensor centers, Tensor? radii, float radius, float step, SymInt height, SymInt width, int kind, ScalarType "
        "dtype) -> "
        "Tensor");

}  // namespace
}  // namespace ldie::heatmap
