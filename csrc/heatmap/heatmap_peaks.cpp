// SPDX-License-Identifier: Apache-2.0
#include "heatmap/heatmap_peaks.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::heatmap {
namespace {

std::tuple<Tensor, Tensor, Tensor, Tensor> heatmap_peaks_op(const Tensor& scores_, int64_t k, bool per_class) {
  constexpr const char* op = "heatmap_peaks";
  check_floating(op, "scores", scores_);
  check_shape(op, "scores", scores_, {kAnySize, kAnySize, kAnySize, kAnySize}, "[B, C, H, W]");
  check_positive(op, "k", k);
  check_map_size(op, scores_.size(2), scores_.size(3));
  const Tensor scores = as_contiguous(scores_);
  const int64_t batch = scores.size(0), classes = scores.size(1);
  const auto output = [&](ScalarType dtype) {
    return per_class ? make_empty(scores, {batch, classes, k}, dtype) : make_empty(scores, {batch, k}, dtype);
  };
  Tensor best = output(scores.scalar_type());
  Tensor labels = output(ScalarType::Long), y = output(ScalarType::Long), x = output(ScalarType::Long);

  TensorContext context(scores);
  dispatch_floating(scores.scalar_type(), [&](auto element) {
    using T = decltype(element);
    HeatmapPeaks<T> args;
    args.scores = data<T>(scores);
    args.batch = batch;
    args.classes = classes;
    args.height = scores.size(2);
    args.width = scores.size(3);
    args.k = k;
    args.per_class = per_class;
    args.best = mutable_data<T>(best);
    args.labels = mutable_data<int64_t>(labels);
    args.y = mutable_data<int64_t>(y);
    args.x = mutable_data<int64_t>(x);
    heatmap_peaks(args, context);
  });
  return {best, labels, y, x};
}

LDIE_SCHEMA("heatmap_peaks(Tensor scores, SymInt k, bool per_class) -> (Tensor, Tensor, Tensor, Tensor)");
LDIE_REGISTER("heatmap_peaks", heatmap_peaks_op)

}  // namespace
}  // namespace ldie::heatmap
