// SPDX-License-Identifier: Apache-2.0
#include "roi/roi_align.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/argument_tensors.h"
#include "core/format_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::roi {
namespace {

using OptionalTensor = std::optional<Tensor>;

constexpr const char* kOp = "roi_align";

// The arguments of both ops that are not tensors of features or gradients.
struct Options {
  std::vector<double> spatial_scales;
  int64_t sampling_ratio;
  bool aligned;
  double canonical_scale;
  int64_t canonical_level, first_level;
  LevelRule rule;
};

// Whether the gradients of outputs are read as they stand. Copied to the maps' order, those of a sum (one number), or
// of channels-last outputs that were flattened, take longer than they take to be read.
#if defined(LDIE_BACKEND_CPU)
constexpr bool kReadsAnyStrides = true;
#else
constexpr bool kReadsAnyStrides = false;
#endif

// The sizes of a pyramid: (height, width) of each level.
struct Pyramid {
  std::vector<int64_t> sizes;
  int64_t batch, channels;
  int64_t levels() const { return int64_t(sizes.size()) / 2; }
};

Pyramid check_features(const std::vector<Tensor>& features) {
  if (features.empty() || features.size() > size_t(kMaxLevels)) {
    check_failed(kOp, "features must be 1 to ", kMaxLevels, " tensors, got ", features.size());
  }
  const Argument first = Argument(kOp, "features[0]", features[0])
                             .floating()
                             .shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[B, C, H, W]");
  Pyramid pyramid{{}, first.size(0), first.size(1)};
  for (size_t i = 0; i < features.size(); ++i) {
    const std::string name = "features[" + std::to_string(i) + "]";
    const Argument feature(kOp, name.c_str(), features[i]);
    feature.dtype_of(first)
        .shape({pyramid.batch, pyramid.channels, kAnySize, kAnySize}, "[B, C, H, W] with B and C of features[0]")
        .device_of(first);
    check_map_size(kOp, feature.size(2), feature.size(3));
    pyramid.sizes.insert(pyramid.sizes.end(), {feature.size(2), feature.size(3)});
  }
  return pyramid;
}

// `like` is a feature map or a gradient.
void check_boxes(const Tensor& boxes_, const OptionalTensor& offsets_, const Tensor& like, int64_t batch) {
  const Argument features(kOp, "features", like), boxes(kOp, "boxes", boxes_);
  boxes.dtype(acc_dtype(like)).device_of(features);
  offsets_ ? boxes.shape({kAnySize, 4}, "[K, 4]") : boxes.shape({kAnySize, 5}, "[K, 5]");
  boxes.fewer_than_2_31(boxes.size(0), "rows");
  if (!offsets_) return;
  Argument(kOp, "offsets", *offsets_)
      .device_of(features)
      .offsets(boxes.size(0))
      .shape({batch + 1}, "[B + 1], B as in features");
}

// Of a scale of 2^-level; beyond this no map has one.
void check_level(const char* name, int64_t level) {
  constexpr int64_t kLimit = 64;
  if (level < -kLimit || level > kLimit) check_failed(kOp, name, " must be from -64 to 64, got ", level);
}

void check_options(const Options& options, int64_t levels) {
  if (int64_t(options.spatial_scales.size()) != levels) {
    check_failed(kOp, "spatial_scales must have one value for each of the ", levels, " features, got ",
                 options.spatial_scales.size());
  }
  for (const double scale : options.spatial_scales) {
    if (!(scale > 0 && std::isfinite(scale))) {
      check_failed(kOp, "spatial_scales must be above 0 and finite, got ", scale);
    }
  }
  if (options.sampling_ratio > kMaxGrid) {
    check_failed(kOp, "sampling_ratio must be at most ", kMaxGrid, ", got ", options.sampling_ratio);
  }
  if (!(options.canonical_scale > 0 && std::isfinite(options.canonical_scale))) {
    check_failed(kOp, "canonical_scale must be above 0 and finite, got ", options.canonical_scale);
  }
  check_level("canonical_level", options.canonical_level);
  check_level("the level of the first of spatial_scales", options.first_level);
}

template <typename Make>
auto per_level(int64_t count, const Make& make) {
  PerLevel<decltype(make(size_t(0)))> result{};
  for (size_t i = 0; i < size_t(count); ++i) result.values[i] = make(i);
  return result;
}

template <typename A>
RoiLayout<A> make_layout(const Tensor& boxes, const OptionalTensor& offsets, const Pyramid& pyramid,
                         const Options& options, int64_t bins_y, int64_t bins_x, bool channels_last) {
  const double finest_scale = std::ldexp(options.canonical_scale, int(options.first_level - options.canonical_level));
  const auto level = [&](size_t i) -> RoiLevel<A> {
    return {int32_t(pyramid.sizes[2 * i]), int32_t(pyramid.sizes[2 * i + 1]), A(options.spatial_scales[i])};
  };
  return {
      .boxes = data<A>(boxes),
      .offsets = offsets ? data<int64_t>(*offsets) : nullptr,
      .rois = boxes.size(0),
      .batch = pyramid.batch,
      .channels = pyramid.channels,
      .bins_y = bins_y,
      .bins_x = bins_x,
      .sampling_ratio = int32_t(std::max(options.sampling_ratio, int64_t(0))),
      .aligned = options.aligned,
      .channels_last = channels_last,
      .choice = {options.rule, A(options.canonical_scale), A(options.canonical_level), A(finest_scale),
                 int32_t(options.first_level), int32_t(pyramid.levels())},
      .levels = per_level(pyramid.levels(), level),
  };
}

Tensor roi_align_op(std::vector<Tensor> features, const Tensor& boxes_, const OptionalTensor& offsets_, int64_t bins_y,
                    int64_t bins_x, bool channels_last, std::vector<double> spatial_scales, int64_t sampling_ratio,
                    bool aligned, double canonical_scale, int64_t canonical_level, int64_t first_level, int64_t rule) {
  const Options options{std::move(spatial_scales),
                        sampling_ratio,
                        aligned,
                        canonical_scale,
                        canonical_level,
                        first_level,
                        checked_option<LevelRule>(kOp, "levels", rule)};
  const Pyramid pyramid = check_features(features);
  check_options(options, pyramid.levels());
  check_boxes(boxes_, offsets_, features[0], pyramid.batch);
  check_positive(kOp, "the height of output_size", bins_y);
  check_positive(kOp, "the width of output_size", bins_x);
  for (Tensor& feature : features) feature = in_format(feature, channels_last);
  const Tensor boxes = as_contiguous(boxes_);
  const OptionalTensor offsets = as_contiguous(offsets_);
  Tensor output = make_empty_in_format(features[0], {boxes.size(0), pyramid.channels, bins_y, bins_x}, channels_last);
  if (output.numel() == 0) return output;

  launch_floating(features[0], [&]<typename T>(Context& context) {
    const auto maps = per_level(pyramid.levels(), [&](size_t i) { return data<T>(features[i]); });
    roi_align<T>({make_layout<acc_t<T>>(boxes, offsets, pyramid, options, bins_y, bins_x, channels_last), maps,
                  mutable_data<T>(output)},
                 context);
  });
  return output;
}

std::vector<Tensor> roi_align_backward_op(const Tensor& grad_, const Tensor& boxes_, const OptionalTensor& offsets_,
                                          std::vector<int64_t> sizes, int64_t batch, bool channels_last,
                                          std::vector<double> spatial_scales, int64_t sampling_ratio, bool aligned,
                                          double canonical_scale, int64_t canonical_level, int64_t first_level,
                                          int64_t rule) {
  const Options options{std::move(spatial_scales),
                        sampling_ratio,
                        aligned,
                        canonical_scale,
                        canonical_level,
                        first_level,
                        checked_option<LevelRule>(kOp, "levels", rule)};
  Argument(kOp, "grad", grad_)
      .floating()
      .shape({boxes_.size(0), kAnySize, kAnySize, kAnySize}, "[K, C, h, w] with K boxes");
  const Pyramid pyramid{std::move(sizes), batch, grad_.size(1)};
  check_options(options, pyramid.levels());
  check_boxes(boxes_, offsets_, grad_, batch);
  const Tensor grad = kReadsAnyStrides ? grad_ : in_format(grad_, channels_last), boxes = as_contiguous(boxes_);
  const OptionalTensor offsets = as_contiguous(offsets_);
  std::vector<Tensor> grads;
  for (int64_t i = 0; i < pyramid.levels(); ++i) {
    grads.push_back(make_empty_in_format(
        grad, {batch, pyramid.channels, pyramid.sizes[2 * i], pyramid.sizes[2 * i + 1]}, channels_last));
  }
  if (batch == 0 || pyramid.channels == 0) return grads;

  launch_floating(grad, [&]<typename T>(Context& context) {
    const auto maps = per_level(pyramid.levels(), [&](size_t i) { return mutable_data<T>(grads[i]); });
    roi_align_backward<T>(
        {make_layout<acc_t<T>>(boxes, offsets, pyramid, options, grad.size(2), grad.size(3), channels_last),
         data<T>(grad),
         {grad.stride(0), grad.stride(1), grad.stride(2), grad.stride(3)},
         maps},
        context);
  });
  return grads;
}

LDIE_OP(roi_align, roi_align_op,
        "(Tensor[] features, Tensor boxes, Tensor? offsets, SymInt height, SymInt width, bool channels_last, float[] "
        "spatial_scales, int sampling_ratio, bool aligned, float canonical_scale, int canonical_level, int "
        "first_level, int rule) -> Tensor");
LDIE_OP(roi_align_backward, roi_align_backward_op,
        "(Tensor grad, Tensor boxes, Tensor? offsets, SymInt[] sizes, SymInt batch, bool channels_last, float[] "
        "spatial_scales, int sampling_ratio, bool aligned, float canonical_scale, int canonical_level, int "
        "first_level, int rule) -> Tensor[]");

}  // namespace
}  // namespace ldie::roi
