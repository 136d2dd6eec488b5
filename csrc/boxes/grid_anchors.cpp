// SPDX-License-Identifier: Apache-2.0
#include "boxes/grid_anchors.h"

#include <span>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::boxes {
namespace {

using Integers = std::vector<int64_t>;
using Reals = std::vector<double>;
constexpr const char* kOp = "grid_anchors";

void check_all_positive(const char* name, const Reals& values) {
  for (const double value : values) {
    if (!(value > 0) || std::isinf(value)) check_failed(kOp, name, " must be positive and finite, got ", value);
  }
}

// The lists of all levels stand one after the other; `counts` tells where each ends.
void check_lists(const char* name, const Reals& values, const Integers& counts, size_t levels) {
  int64_t sum = 0;
  bool valid = counts.size() == levels;
  for (const int64_t count : counts) {
    sum += count;
    valid = valid && count >= 0;
  }
  if (!valid || sum != int64_t(values.size())) {
    check_failed(kOp, name, " must have one list for each of the ", levels, " levels of grid_sizes, got ",
                 counts.size());
  }
  check_all_positive(name, values);
}

void check_levels(const Integers& grid_sizes, const Integers& strides) {
  if (grid_sizes.size() % 2 != 0 || int64_t(grid_sizes.size()) > 2 * kMostAnchorLevels) {
    check_failed(kOp, "grid_sizes must be (height, width) for at most ", kMostAnchorLevels, " levels");
  }
  if (strides.size() != grid_sizes.size()) {
    check_failed(kOp, "strides must have one stride for each of the ", grid_sizes.size() / 2,
                 " levels of grid_sizes, got ", strides.size() / 2);
  }
  for (size_t i = 0; i < grid_sizes.size(); i += 2) check_map_size(kOp, grid_sizes[i], grid_sizes[i + 1]);
  for (const int64_t stride : strides) {
    if (stride < 0 || stride > (int64_t(1) << 30)) check_failed(kOp, "strides must be in [0, 2^30], got ", stride);
  }
}

// So that no product overflows; memory ends long before.
void check_count(const AnchorLevel& level) {
  constexpr double kMost = double(int64_t(1) << 48);
  if (double(level.height) * double(level.width) * level.cells > kMost) {
    check_failed(kOp, "grid_sizes must make at most 2^48 anchors a level, got (", level.height, ", ", level.width,
                 ") with ", level.cells, " each");
  }
}

// The cells by the two conventions in use, with ratio = height / width. Both in their peer's precision and order of
// operations, so that the anchors are the same bits.
Box<float> torchvision_cell(double size, double ratio) {
  const float height_ratio = std::sqrt(float(ratio)), width_ratio = 1.f / height_ratio;
  const float x = std::nearbyint(width_ratio * float(size) / 2), y = std::nearbyint(height_ratio * float(size) / 2);
  return {-x, -y, x, y};
}

Box<float> detectron2_cell(double size, double ratio) {
  const double width = std::sqrt(size * size / ratio), height = ratio * width;
  const float x = float(width / 2), y = float(height / 2);
  return {-x, -y, x, y};
}

// Cell i of a level: torchvision has the ratio in the outer loop, detectron2 the size.
Box<float> anchor_cell(AnchorConvention convention, std::span<const double> sizes, std::span<const double> ratios,
                       size_t i) {
  return convention == AnchorConvention::kTorchvision
             ? torchvision_cell(sizes[i % sizes.size()], ratios[i / sizes.size()])
             : detectron2_cell(sizes[i / ratios.size()], ratios[i % ratios.size()]);
}

std::span<const double> take(std::span<const double>& values, int64_t count) {
  const auto taken = values.first(size_t(count));
  values = values.subspan(size_t(count));
  return taken;
}

// `sizes` and `ratios` hold one list a level, as long as the counts tell.
AnchorPyramid make_pyramid(std::span<const double> sizes, const Integers& size_counts, std::span<const double> ratios,
                           const Integers& ratio_counts, const Integers& grid_sizes, const Integers& strides,
                           AnchorConvention convention) {
  AnchorPyramid pyramid;
  for (size_t i = 0; i < size_counts.size(); ++i) {
    const auto level_sizes = take(sizes, size_counts[i]), level_ratios = take(ratios, ratio_counts[i]);
    const size_t cells = level_sizes.size() * level_ratios.size();
    if (size_t(pyramid.num_cells) + cells > size_t(kMostAnchorCells)) {
      check_failed(kOp, "sizes and aspect_ratios must make at most ", kMostAnchorCells, " boxes over all levels");
    }
    const AnchorLevel level{grid_sizes[2 * i], grid_sizes[2 * i + 1], strides[2 * i], strides[2 * i + 1],
                            pyramid.anchors,   pyramid.num_cells,     int(cells)};
    check_count(level);
    for (size_t cell = 0; cell < cells; ++cell) {
      pyramid.cells[size_t(pyramid.num_cells++)] = anchor_cell(convention, level_sizes, level_ratios, cell);
    }
    pyramid.levels[pyramid.num_levels++] = level;
    pyramid.anchors += level.height * level.anchors_per_row();
  }
  return pyramid;
}

Tensor grid_anchors_op(const Tensor& like, const Reals& sizes, const Integers& size_counts, const Reals& ratios,
                       const Integers& ratio_counts, const Integers& grid_sizes, const Integers& strides,
                       int64_t convention_, double offset) {
  const auto convention = checked_option<AnchorConvention>(kOp, "convention", convention_);
  check_levels(grid_sizes, strides);
  check_lists("sizes", sizes, size_counts, grid_sizes.size() / 2);
  check_lists("aspect_ratios", ratios, ratio_counts, grid_sizes.size() / 2);
  const AnchorPyramid pyramid = make_pyramid(sizes, size_counts, ratios, ratio_counts, grid_sizes, strides, convention);
  Tensor anchors = make_empty(like, {pyramid.anchors, 4}, ScalarType::Float);
  if (pyramid.anchors == 0) return anchors;

  TensorContext context(anchors);
  grid_anchors({pyramid, float(offset), reinterpret_cast<Box<float>*>(mutable_data<float>(anchors))}, context);
  return anchors;
}

LDIE_OP(grid_anchors, grid_anchors_op,
        "(Tensor like, float[] sizes, int[] size_counts, float[] aspect_ratios, int[] ratio_counts, SymInt[] "
        "grid_sizes, SymInt[] strides, int convention, float offset) -> Tensor");

}  // namespace
}  // namespace ldie::boxes
