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
  Argument(op, "scores", scores_).floating().shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[B, C, H, W]");
  check_positive(op, "k", k);
  check_map_size(op, scores_.size(2), scores_.size(3));
  const Tensor scores = as_contiguous(scores_);
  const int64_t batch = scores.size(0), classes = scores.size(1);
  const auto output = [&](ScalarType dtype) {
    return per_class ? make_empty(scores, {batch, classes, k}, dtype) : make_empty(scores, {batch, k}, dtype);
  };
  Tensor best = output(scores.scalar_type());
  Tensor labels = output(ScalarType::Long), y = output(ScalarType::Long), x = output(ScalarType::Long);

  launch_floating(scores, [&]<typename T>(Context& context) {
    heatmap_peaks<T>({.scores = data<T>(scores),
                      .batch = batch,
                      .classes = classes,
                      .height = scores.size(2),
                      .width = scores.size(3),
                      .k = k,
                      .per_class = per_class,
                      .best = mutable_data<T>(best),
                      .labels = mutable_data<int64_t>(labels),
                      .y = mutable_data<int64_t>(y),
                      .x = mutable_data<int64_t>(x)},
                     context);
  });
  return {best, labels, y, x};
}

LDIE_OP(heatmap_peaks, heatmap_peaks_op,
        "(Tensor scores, SymInt k, bool per_class) -> (Tensor, Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace ldie::heatmap
