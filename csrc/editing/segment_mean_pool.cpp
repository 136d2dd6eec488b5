// SPDX-License-Identifier: Apache-2.0
#include "editing/segment_mean_pool.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/format_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::editing {
namespace {

void check_segments(const char* op, const Argument& like, const Tensor& segments, int64_t num_segments) {
  Argument(op, "segments", segments).dtype(ScalarType::Long).device_of(like);
  check_map_size(op, segments.size(1), segments.size(2));
  if (num_segments < 0 || num_segments >= int64_t(1) << 31) {
    check_failed(op, "num_segments must be at least 0 and below 2^31, got ", num_segments);
  }
}

SegmentMap make_map(const Tensor& segments, int64_t channels, int64_t num_segments, bool channels_last) {
  const int64_t pixels = segments.size(1) * segments.size(2);
  return {data<int64_t>(segments), segments.size(0), channels, pixels, num_segments, channels_last};
}

std::tuple<Tensor, Tensor> segment_mean_pool_op(const Tensor& features_, const Tensor& segments_, int64_t num_segments,
                                                bool channels_last) {
  constexpr const char* op = "segment_mean_pool";
  const Argument given = Argument(op, "features", features_).floating();
  given.shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[B, C, H, W]");
  const int64_t batch = given.size(0), channels = given.size(1);
  Argument(op, "segments", segments_).shape({batch, given.size(2), given.size(3)}, "[B, H, W], as features");
  check_segments(op, given, segments_, num_segments);
  const Tensor features = in_format(features_, channels_last), segments = as_contiguous(segments_);
  Tensor means = make_empty(features, {batch, num_segments, channels});
  if (means.numel() == 0) return {means, make_zeros(features, {batch, num_segments}, ScalarType::Long)};
  Tensor counts = make_empty(features, {batch, num_segments}, ScalarType::Long);

  launch_floating(features, [&]<typename T>(Context& context) {
    segment_mean_pool<T>({make_map(segments, channels, num_segments, channels_last), data<T>(features),
                          mutable_data<T>(means), mutable_data<int64_t>(counts)},
                         context);
  });
  return {means, counts};
}

Tensor segment_mean_pool_backward_op(const Tensor& grad_, const Tensor& counts_, const Tensor& segments_,
                                     bool channels_last) {
  constexpr const char* op = "segment_mean_pool_backward";
  const Argument given = Argument(op, "grad", grad_).floating();
  Argument(op, "segments", segments_).shape({kAnySize, kAnySize, kAnySize}, "[B, H, W]");
  const int64_t batch = segments_.size(0);
  given.shape({batch, kAnySize, kAnySize}, "[B, S, C], B as in segments");
  const int64_t num_segments = given.size(1), channels = given.size(2);
  check_segments(op, given, segments_, num_segments);
  Argument(op, "counts", counts_).dtype(ScalarType::Long).shape({batch, num_segments}, "[B, S]").device_of(given);
  const Tensor grad = as_contiguous(grad_), counts = as_contiguous(counts_), segments = as_contiguous(segments_);
  Tensor grad_features =
      make_empty_in_format(grad, {batch, channels, segments.size(1), segments.size(2)}, channels_last);
  if (grad_features.numel() == 0) return grad_features;

  launch_floating(grad, [&]<typename T>(Context& context) {
    segment_mean_pool_backward<T>({make_map(segments, channels, num_segments, channels_last), data<T>(grad),
                                   data<int64_t>(counts), mutable_data<T>(grad_features)},
                                  context);
  });
  return grad_features;
}

LDIE_OP(segment_mean_pool, segment_mean_pool_op,
        "(Tensor features, Tensor segments, SymInt num_segments, bool channels_last) -> (Tensor, Tensor)");
LDIE_OP(segment_mean_pool_backward, segment_mean_pool_backward_op,
        "(Tensor grad, Tensor counts, Tensor segments, bool channels_last) -> Tensor");

}  // namespace
}  // namespace ldie::editing
