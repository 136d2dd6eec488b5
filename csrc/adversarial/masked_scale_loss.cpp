// SPDX-License-Identifier: Apache-2.0
#include "adversarial/masked_scale_loss.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::adversarial {
namespace {

using OptionalTensor = std::optional<Tensor>;
constexpr const char* kOp = "masked_scale_loss";

BoxType box_type(const Tensor& boxes) {
  const ScalarType dtype = boxes.scalar_type();
  if (dtype == ScalarType::Float) return BoxType::kFloat;
  if (dtype == ScalarType::Double) return BoxType::kDouble;
  return dtype == ScalarType::Half ? BoxType::kHalf : BoxType::kBFloat16;
}

// Scores [B, S, H, W] with a weight of one channel or S.
struct ScoreTensors {
  Tensor scores;
  OptionalTensor weight;
  int64_t scale;
  bool discriminator, hinge;

  template <typename T>
  ScaleScores<T> launched() const {
    return {.scores = data<T>(scores),
            .weight = weight ? data<acc_t<T>>(*weight) : nullptr,
            .weight_channels = weight ? weight->size(1) : 0,
            .batch = scores.size(0),
            .channels = scores.size(1),
            .height = scores.size(2),
            .width = scores.size(3),
            .scale = scale,
            .discriminator = discriminator,
            .hinge = hinge};
  }
};

ScoreTensors score_tensors(const Tensor& scores_, const OptionalTensor& weight, int64_t scale, bool discriminator,
                           bool hinge) {
  const Argument scores = Argument(kOp, "scores", scores_).floating();
  scores.shape({kAnySize, kAnySize, kAnySize, kAnySize}, "[B, S, H, W]");
  check_map_size(kOp, scores.size(2), scores.size(3));
  if (scale < 0 || scale >= scores.size(1)) {
    check_failed(kOp, "scale must be a channel of scores, 0 <= scale < ", scores.size(1), ", got ", scale);
  }
  if (weight) {
    const int64_t channels = weight->dim() == 4 && weight->size(1) == 1 ? 1 : scores.size(1);
    Argument(kOp, "weight", *weight)
        .device_of(scores)
        .dtype(acc_dtype(scores_))
        .shape({scores.size(0), channels, scores.size(2), scores.size(3)}, "[B, 1 or S, H, W] as scores");
  }
  return {as_contiguous(scores_), as_contiguous(weight), scale, discriminator, hinge};
}

// Where M comes from, checked to fit the scores. The tensors must outlive the result, which points into them.
ClassCounts class_counts(const Tensor& scores_, const OptionalTensor& boxes, const OptionalTensor& labels,
                         const OptionalTensor& offsets, const OptionalTensor& masks, int64_t num_classes,
                         bool class_agnostic, int64_t rounding) {
  const Argument scores(kOp, "scores", scores_);
  if (boxes && masks) check_failed(kOp, "boxes and masks exclude each other: give one of them");
  if (labels.has_value() != boxes.has_value() || offsets.has_value() != boxes.has_value()) {
    check_failed(kOp, "boxes, labels and offsets belong together: give all three or none");
  }
  if (boxes) {
    check_labelled_boxes(kOp, *boxes, *labels, *offsets);
    Argument(kOp, "boxes", *boxes).device_of(scores);
    const Argument starts(kOp, "offsets", *offsets);
    if (starts.size(0) != scores.size(0) + 1) {
      starts.fail("must have shape [B + 1] with B = ", scores.size(0), " of scores");
    }
    check_positive(kOp, "num_classes", num_classes);
    if (num_classes > INT32_MAX) check_failed(kOp, "num_classes must be below 2^31, got ", num_classes);
  }
  if (masks) {
    const Argument given(kOp, "masks", *masks);
    if (masks->scalar_type() != ScalarType::Bool) given.dtype(ScalarType::Byte);
    given.shape({scores.size(0), kAnySize, scores.size(2), scores.size(3)}, "[B, Nc, H, W] as scores")
        .device_of(scores);
  }
  const int64_t planes = boxes ? num_classes : masks ? masks->size(1) : 1;
  return {.source = boxes   ? MaskSource::kBoxes
                    : masks ? MaskSource::kMasks
                            : MaskSource::kEverywhere,
          .boxes = boxes ? BoxRows{boxes->const_data_ptr(), box_type(*boxes)} : BoxRows{},
          .labels = boxes ? data<int64_t>(*labels) : nullptr,
          .offsets = boxes ? data<int64_t>(*offsets) : nullptr,
          .rows = boxes ? boxes->size(0) : 0,
          .masks = masks ? static_cast<const uint8_t*>(masks->const_data_ptr()) : nullptr,
          .mask_planes = masks ? masks->size(1) : 0,
          .batch = scores.size(0),
          .planes = class_agnostic ? 1 : planes,
          .height = scores.size(2),
          .width = scores.size(3),
          .class_agnostic = class_agnostic,
          .rounding = checked_option<Rounding>(kOp, "rounding", rounding)};
}

// K needs as many values as there are planes; what Python's fake must know too.
ScalarType count_dtype(int64_t planes) { return planes <= 255 ? ScalarType::Byte : ScalarType::Int; }

std::tuple<Tensor, Tensor, Tensor> masked_scale_loss_op(const Tensor& scores_, const OptionalTensor& boxes_,
                                                        const OptionalTensor& labels_, const OptionalTensor& offsets_,
                                                        const OptionalTensor& masks_, const OptionalTensor& weight,
                                                        int64_t scale, int64_t num_classes, bool class_agnostic,
                                                        bool discriminator, bool hinge, bool normalize,
                                                        int64_t rounding) {
  const ScoreTensors in = score_tensors(scores_, weight, scale, discriminator, hinge);
  const Tensor& scores = in.scores;
  const OptionalTensor boxes = as_contiguous(boxes_), labels = as_contiguous(labels_),
                       offsets = as_contiguous(offsets_), masks = as_contiguous(masks_);
  const ClassCounts source = class_counts(scores, boxes, labels, offsets, masks, num_classes, class_agnostic, rounding);
  const bool everywhere = source.source == MaskSource::kEverywhere;
  const ScalarType dtype = acc_dtype(scores);
  Tensor loss = make_empty(scores, {}, dtype), reciprocal = make_empty(scores, {}, dtype);
  Tensor counts = everywhere
                      ? make_empty(scores, {0}, ScalarType::Byte)
                      : make_empty(scores, {source.batch, source.height, source.width}, count_dtype(source.planes));
  const Normaliser normaliser{double(source.planes) * double(scores.numel()), double(scores.size(1)), normalize, hinge};
  launch_floating(scores, [&]<typename T>(Context& context) {
    masked_scale_loss<T>({.scores = in.launched<T>(),
                          .source = source,
                          .normaliser = normaliser,
                          .counts = everywhere ? nullptr : counts.mutable_data_ptr(),
                          .wide = counts.scalar_type() == ScalarType::Int,
                          .loss = mutable_data<acc_t<T>>(loss),
                          .reciprocal = mutable_data<acc_t<T>>(reciprocal)},
                         context);
  });
  return {loss, counts, reciprocal};
}

// What the two backward ops get from the forward op. They are called by autograd, with tensors it made, but are
// registered ops: what could send a kernel out of bounds is checked.
struct SavedTensors {
  Tensor counts, reciprocal;

  const void* count_data() const { return counts.dim() == 1 ? nullptr : counts.const_data_ptr(); }
  bool wide() const { return counts.scalar_type() == ScalarType::Int; }
};

SavedTensors saved_tensors(const Tensor& scores_, const Tensor& counts_, const Tensor& reciprocal) {
  const Argument scores(kOp, "scores", scores_), counts(kOp, "counts", counts_);
  if (counts_.scalar_type() != ScalarType::Byte) counts.dtype(ScalarType::Int);
  if (counts_.dim() != 1 || counts.size(0) != 0) {
    counts.shape({scores.size(0), scores.size(2), scores.size(3)}, "[B, H, W] as scores, or [0]");
  }
  counts.device_of(scores);
  Argument(kOp, "reciprocal", reciprocal).shape({}, "[]").dtype(acc_dtype(scores_)).device_of(scores);
  return {as_contiguous(counts_), reciprocal};
}

Tensor masked_scale_loss_backward_op(const Tensor& grad_loss, const Tensor& scores_, const Tensor& counts,
                                     const Tensor& reciprocal, const OptionalTensor& weight, int64_t scale,
                                     bool discriminator, bool hinge) {
  const ScoreTensors in = score_tensors(scores_, weight, scale, discriminator, hinge);
  const SavedTensors saved = saved_tensors(scores_, counts, reciprocal);
  Argument(kOp, "grad_loss", grad_loss)
      .shape({}, "[]")
      .dtype(acc_dtype(scores_))
      .device_of(Argument(kOp, "scores", scores_));
  Tensor grad_scores = make_empty_like(in.scores);
  launch_floating(in.scores, [&]<typename T>(Context& context) {
    masked_scale_loss_backward<T>({in.launched<T>(), saved.count_data(), saved.wide(), data<acc_t<T>>(reciprocal),
                                   data<acc_t<T>>(grad_loss), mutable_data<T>(grad_scores)},
                                  context);
  });
  return grad_scores;
}

Tensor masked_scale_loss_double_backward_op(const Tensor& tangent_, const Tensor& scores_, const Tensor& counts,
                                            const Tensor& reciprocal, const OptionalTensor& weight, int64_t scale,
                                            bool discriminator, bool hinge) {
  const ScoreTensors in = score_tensors(scores_, weight, scale, discriminator, hinge);
  const SavedTensors saved = saved_tensors(scores_, counts, reciprocal);
  const Argument scores(kOp, "scores", scores_);
  Argument(kOp, "tangent", tangent_)
      .dtype_of(scores)
      .shape({scores.size(0), scores.size(1), scores.size(2), scores.size(3)}, "[B, S, H, W] as scores")
      .device_of(scores);
  const Tensor tangent = as_contiguous(tangent_);
  Tensor result = make_empty(scores_, {}, acc_dtype(scores_));
  launch_floating(in.scores, [&]<typename T>(Context& context) {
    masked_scale_loss_double_backward<T>({in.launched<T>(), saved.count_data(), saved.wide(),
                                          data<acc_t<T>>(reciprocal), data<T>(tangent), mutable_data<acc_t<T>>(result)},
                                         context);
  });
  return result;
}

LDIE_OP(masked_scale_loss, masked_scale_loss_op,
        "(Tensor scores, Tensor? boxes, Tensor? labels, Tensor? offsets, Tensor? masks, Tensor? weight, int scale, int "
        "num_classes, bool class_agnostic, bool discriminator, bool hinge, bool normalize, int rounding) -> (Tensor "
        "loss, Tensor counts, Tensor reciprocal)");
LDIE_OP(masked_scale_loss_backward, masked_scale_loss_backward_op,
        "(Tensor grad_loss, Tensor scores, Tensor counts, Tensor reciprocal, Tensor? weight, int scale, bool "
        "discriminator, bool hinge) -> Tensor");
LDIE_OP(masked_scale_loss_double_backward, masked_scale_loss_double_backward_op,
        "(Tensor tangent, Tensor scores, Tensor counts, Tensor reciprocal, Tensor? weight, int scale, bool "
        "discriminator, bool hinge) -> Tensor");

}  // namespace
}  // namespace ldie::adversarial
