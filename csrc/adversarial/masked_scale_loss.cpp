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

ScalarType accumulate_dtype(const Tensor& scores) {
  return scores.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

BoxType box_type(const Tensor& boxes) {
  switch (boxes.scalar_type()) {
    case ScalarType::Double: return BoxType::kDouble;
    case ScalarType::Half: return BoxType::kHalf;
    case ScalarType::BFloat16: return BoxType::kBFloat16;
    default: return BoxType::kFloat;
  }
}

void check_scores(const Tensor& scores, const OptionalTensor& weight, int64_t scale) {
  check_floating(kOp, "scores", scores);
  check_shape(kOp, "scores", scores, {kAnySize, kAnySize, kAnySize, kAnySize}, "[B, S, H, W]");
  check_map_size(kOp, scores.size(2), scores.size(3));
  if (scale < 0 || scale >= scores.size(1)) {
    check_failed(kOp, "scale must be a channel of scores, 0 <= scale < ", scores.size(1), ", got ", scale);
  }
  if (!weight) return;
  check_same_device(kOp, "weight", *weight, "scores", scores);
  check_dtype(kOp, "weight", *weight, accumulate_dtype(scores));
  const int64_t channels = weight->dim() == 4 && weight->size(1) == 1 ? 1 : scores.size(1);
  check_shape(kOp, "weight", *weight, {scores.size(0), channels, scores.size(2), scores.size(3)},
              "[B, 1 or S, H, W] as scores");
}

template <typename T>
ScaleScores<T> scale_scores(const Tensor& scores, const OptionalTensor& weight, int64_t scale, bool discriminator,
                            bool hinge) {
  ScaleScores<T> result;
  result.scores = data<T>(scores);
  result.weight = weight ? data<acc_t<T>>(*weight) : nullptr;
  result.weight_channels = weight ? weight->size(1) : 0;
  result.batch = scores.size(0);
  result.channels = scores.size(1);
  result.height = scores.size(2);
  result.width = scores.size(3);
  result.scale = scale;
  result.discriminator = discriminator;
  result.hinge = hinge;
  return result;
}

// Checks where M comes from and that it fits the scores. The tensors must outlive the result, which points into them.
ClassCounts class_counts(const Tensor& scores, const OptionalTensor& boxes, const OptionalTensor& labels,
                         const OptionalTensor& offsets, const OptionalTensor& masks, int64_t num_classes,
                         bool class_agnostic, int64_t rounding) {
  ClassCounts source{};
  source.source = boxes ? MaskSource::kBoxes : masks ? MaskSource::kMasks : MaskSource::kEverywhere;
  source.batch = scores.size(0);
  source.planes = 1;
  source.height = scores.size(2);
  source.width = scores.size(3);
  source.class_agnostic = class_agnostic;
  source.rounding = checked_option<Rounding>(kOp, "rounding", rounding);
  if (boxes && masks) check_failed(kOp, "boxes and masks exclude each other: give one of them");
  if (labels.has_value() != boxes.has_value() || offsets.has_value() != boxes.has_value()) {
    check_failed(kOp, "boxes, labels and offsets belong together: give all three or none");
  }
  if (boxes) {
    check_labelled_boxes(kOp, *boxes, *labels, *offsets);
    check_same_device(kOp, "boxes", *boxes, "scores", scores);
    if (offsets->size(0) != source.batch + 1) {
      check_failed(kOp, "offsets must have shape [B + 1] with B = ", source.batch, " of scores, got ",
                   describe(*offsets));
    }
    check_positive(kOp, "num_classes", num_classes);
    if (num_classes > INT32_MAX) check_failed(kOp, "num_classes must be below 2^31, got ", num_classes);
    source.boxes = {boxes->const_data_ptr(), box_type(*boxes)};
    source.labels = data<int64_t>(*labels);
    source.offsets = data<int64_t>(*offsets);
    source.rows = boxes->size(0);
    source.planes = class_agnostic ? 1 : num_classes;
  } else if (masks) {
    if (masks->scalar_type() != ScalarType::Bool) check_dtype(kOp, "masks", *masks, ScalarType::Byte);
    check_shape(kOp, "masks", *masks, {source.batch, kAnySize, source.height, source.width}, "[B, Nc, H, W] as scores");
    check_same_device(kOp, "masks", *masks, "scores", scores);
    source.masks = static_cast<const uint8_t*>(masks->const_data_ptr());
    source.mask_planes = masks->size(1);
    source.planes = class_agnostic ? 1 : masks->size(1);
  }
  return source;
}

// K needs as many values as there are planes; what Python's fake must know too.
ScalarType count_dtype(int64_t planes) { return planes <= 255 ? ScalarType::Byte : ScalarType::Int; }

std::tuple<Tensor, Tensor, Tensor> masked_scale_loss_op(const Tensor& scores_, const OptionalTensor& boxes_,
                                                        const OptionalTensor& labels_, const OptionalTensor& offsets_,
                                                        const OptionalTensor& masks_, const OptionalTensor& weight_,
                                                        int64_t scale, int64_t num_classes, bool class_agnostic,
                                                        bool discriminator, bool hinge, bool normalize,
                                                        int64_t rounding) {
  check_scores(scores_, weight_, scale);
  const Tensor scores = as_contiguous(scores_);
  const OptionalTensor boxes = as_contiguous(boxes_), labels = as_contiguous(labels_),
                       offsets = as_contiguous(offsets_), masks = as_contiguous(masks_),
                       weight = as_contiguous(weight_);
  const ClassCounts source = class_counts(scores, boxes, labels, offsets, masks, num_classes, class_agnostic, rounding);
  const int64_t batch = source.batch, channels = scores.size(1);
  const bool everywhere = source.source == MaskSource::kEverywhere;
  const ScalarType dtype = accumulate_dtype(scores);
  Tensor loss = make_empty(scores, {}, dtype), reciprocal = make_empty(scores, {}, dtype);
  Tensor counts = everywhere ? make_empty(scores, {0}, ScalarType::Byte)
                             : make_empty(scores, {batch, source.height, source.width}, count_dtype(source.planes));

  TensorContext context(scores);
  dispatch_floating(scores.scalar_type(), [&](auto element) {
    using T = decltype(element);
    MaskedScaleLoss<T> args;
    args.scores = scale_scores<T>(scores, weight, scale, discriminator, hinge);
    args.source = source;
    args.normaliser = {double(source.planes) * double(scores.numel()), double(channels), normalize, hinge};
    args.counts = everywhere ? nullptr : counts.mutable_data_ptr();
    args.wide = counts.scalar_type() == ScalarType::Int;
    args.loss = mutable_data<acc_t<T>>(loss);
    args.reciprocal = mutable_data<acc_t<T>>(reciprocal);
    masked_scale_loss(args, context);
  });
  return {loss, counts, reciprocal};
}

// What the two backward ops get from the forward op. They are called by autograd, with tensors it made, but are
// registered ops: what could send a kernel out of bounds is checked.
void check_saved(const Tensor& scores, const Tensor& counts, const Tensor& reciprocal) {
  if (counts.scalar_type() != ScalarType::Byte) check_dtype(kOp, "counts", counts, ScalarType::Int);
  if (counts.dim() != 1 || counts.size(0) != 0) {
    check_shape(kOp, "counts", counts, {scores.size(0), scores.size(2), scores.size(3)}, "[B, H, W] as scores, or [0]");
  }
  check_same_device(kOp, "counts", counts, "scores", scores);
  check_shape(kOp, "reciprocal", reciprocal, {}, "[]");
  check_dtype(kOp, "reciprocal", reciprocal, accumulate_dtype(scores));
  check_same_device(kOp, "reciprocal", reciprocal, "scores", scores);
}

const void* count_data(const Tensor& counts) { return counts.dim() == 1 ? nullptr : counts.const_data_ptr(); }

Tensor masked_scale_loss_backward_op(const Tensor& grad_loss, const Tensor& scores_, const Tensor& counts_,
                                     const Tensor& reciprocal, const OptionalTensor& weight_, int64_t scale,
                                     bool discriminator, bool hinge) {
  check_scores(scores_, weight_, scale);
  check_saved(scores_, counts_, reciprocal);
  check_shape(kOp, "grad_loss", grad_loss, {}, "[]");
  check_dtype(kOp, "grad_loss", grad_loss, accumulate_dtype(scores_));
  check_same_device(kOp, "grad_loss", grad_loss, "scores", scores_);
  const Tensor scores = as_contiguous(scores_), counts = as_contiguous(counts_);
  const OptionalTensor weight = as_contiguous(weight_);
  Tensor grad_scores = make_empty(scores, {scores.size(0), scores.size(1), scores.size(2), scores.size(3)});

  TensorContext context(scores);
  dispatch_floating(scores.scalar_type(), [&](auto element) {
    using T = decltype(element);
    MaskedScaleLossBackward<T> args;
    args.scores = scale_scores<T>(scores, weight, scale, discriminator, hinge);
    args.counts = count_data(counts);
    args.wide = counts.scalar_type() == ScalarType::Int;
    args.reciprocal = data<acc_t<T>>(reciprocal);
    args.grad_loss = data<acc_t<T>>(grad_loss);
    args.grad_scores = mutable_data<T>(grad_scores);
    masked_scale_loss_backward(args, context);
  });
  return grad_scores;
}

Tensor masked_scale_loss_double_backward_op(const Tensor& tangent_, const Tensor& scores_, const Tensor& counts_,
                                            const Tensor& reciprocal, const OptionalTensor& weight_, int64_t scale,
                                            bool discriminator, bool hinge) {
  check_scores(scores_, weight_, scale);
  check_saved(scores_, counts_, reciprocal);
  check_dtype(kOp, "tangent", tangent_, scores_.scalar_type());
  check_shape(kOp, "tangent", tangent_, {scores_.size(0), scores_.size(1), scores_.size(2), scores_.size(3)},
              "[B, S, H, W] as scores");
  check_same_device(kOp, "tangent", tangent_, "scores", scores_);
  const Tensor scores = as_contiguous(scores_), counts = as_contiguous(counts_), tangent = as_contiguous(tangent_);
  const OptionalTensor weight = as_contiguous(weight_);
  Tensor result = make_empty(scores, {}, accumulate_dtype(scores));

  TensorContext context(scores);
  dispatch_floating(scores.scalar_type(), [&](auto element) {
    using T = decltype(element);
    MaskedScaleLossDoubleBackward<T> args;
    args.scores = scale_scores<T>(scores, weight, scale, discriminator, hinge);
    args.counts = count_data(counts);
    args.wide = counts.scalar_type() == ScalarType::Int;
    args.reciprocal = data<acc_t<T>>(reciprocal);
    args.tangent = data<T>(tangent);
    args.result = mutable_data<acc_t<T>>(result);
    masked_scale_loss_double_backward(args, context);
  });
  return result;
}

LDIE_SCHEMA(
    "masked_scale_loss(Tensor scores, Tensor? boxes, Tensor? labels, Tensor? offsets, Tensor? masks, Tensor? weight, "
    "int scale, int num_classes, bool class_agnostic, bool discriminator, bool hinge, bool normalize, int rounding) "
    "-> (Tensor loss, Tensor counts, Tensor reciprocal)");
LDIE_REGISTER("masked_scale_loss", masked_scale_loss_op)
LDIE_SCHEMA(
    "masked_scale_loss_backward(Tensor grad_loss, Tensor scores, Tensor counts, Tensor reciprocal, Tensor? weight, "
    "int scale, bool discriminator, bool hinge) -> Tensor");
LDIE_REGISTER("masked_scale_loss_backward", masked_scale_loss_backward_op)
LDIE_SCHEMA(
    "masked_scale_loss_double_backward(Tensor tangent, Tensor scores, Tensor counts, Tensor reciprocal, "
    "Tensor? weight, int scale, bool discriminator, bool hinge) -> Tensor");
LDIE_REGISTER("masked_scale_loss_double_backward", masked_scale_loss_double_backward_op)

}  // namespace
}  // namespace ldie::adversarial
