// SPDX-License-Identifier: Apache-2.0
#include "editing/apply_edits.h"

#include <optional>
#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::editing {
namespace {

using Optional = std::optional<Tensor>;

// The sequences' arguments as they came.
struct Sequences {
  const Tensor &ops, &params;
  const Optional &masks, &mask_index, &exclusive;
};

#if !defined(LDIE_BACKEND_CUDA)
// What only the values tell is checked where the host can read them. On CUDA that would be a synchronisation: there a
// step with no operator, or with a mask that is not there, leaves the image as it is, and a curve's sum is clamped.
template <typename A>
void check_step(const char* op, const EditSequences<A>& sequences, int64_t sample, int64_t step) {
  const int64_t at = sample * sequences.steps + step;
  const auto edit = given_operator(sequences, at);
  if (edit != EditOp::kNone && !is_operator(edit)) {
    check_failed(op, "ops must be numbers of EditOp, 0 to ", static_cast<int64_t>(last_option(EditOp())), ", but ops[",
                 sample, ", ", step, "] is ", sequences.ops[at]);
  }
  if (is_stencil(edit) && count_stencils(sequences, sample * sequences.steps, at) >= kMostStencils) {
    check_failed(op, "ops must have at most ", kMostStencils, " of SHARPNESS, BLUR and EDGE in a sample, but ops[",
                 sample, ", ", step, "] is one more");
  }
  const int curves = edit == EditOp::kColorCurve ? 3 : edit == EditOp::kToneCurve ? 1 : 0;
  for (int curve = 0; curve < curves; ++curve) {
    const double sum = double(curve_sum(sequences.params + at * kParameters + curve * kPieces));
    if (!(sum > kLeastCurveSum)) {
      check_failed(op, "params of a curve must sum to more than ", kLeastCurveSum, ", but those of params[", sample,
                   ", ", step, "] from ", curve * kPieces, " on sum to ", sum);
    }
  }
  if (sequences.mask_index == nullptr) return;
  const int64_t mask = sequences.mask_index[at];
  if (mask < kWholeImage || mask >= sequences.masks) {
    check_failed(op, "mask_index must be the number of a mask, 0 to ", sequences.masks - 1, ", or -1, but mask_index[",
                 sample, ", ", step, "] is ", mask);
  }
}
#endif

void check_sequences(const char* op, const Argument& images, const Sequences& given, ScalarType computed,
                     Layout layout) {
  const bool last = layout == Layout::kChannelsLast;
  const int64_t batch = images.size(0), height = images.size(last ? 1 : 2), width = images.size(last ? 2 : 3);
  const Argument ops =
      Argument(op, "ops", given.ops).dtype(ScalarType::Long).shape({batch, kAnySize}, "[B, K]").device_of(images);
  const int64_t steps = ops.size(1);
  if (steps > kMostSteps) check_failed(op, "ops must have at most ", kMostSteps, " steps, got ", steps);
  Argument(op, "params", given.params)
      .dtype(computed)
      .shape({batch, steps, kParameters}, "[B, K, 24], as ops")
      .device_of(images);
  if (given.masks.has_value() != given.mask_index.has_value()) {
    check_failed(op, given.masks ? "mask_index must be given with masks" : "masks must be given with mask_index");
  }
  if (given.exclusive && !given.masks) check_failed(op, "masks must be given with exclusive");
  if (!given.masks) return;
  const Argument masks(op, "masks", *given.masks);
  if (given.masks->scalar_type() != ScalarType::Bool && given.masks->scalar_type() != computed) {
    masks.fail("must be bool or ", dtype_name(computed));
  }
  masks.shape({kAnySize, height, width}, "[M, H, W], as images").device_of(images);
  Argument(op, "mask_index", *given.mask_index).dtype(ScalarType::Long).shape_of(ops).device_of(images);
  if (given.exclusive)
    Argument(op, "exclusive", *given.exclusive).dtype(ScalarType::Bool).shape_of(ops).device_of(images);
}

// The arguments in order in memory.
class OrderedSequences {
 public:
  explicit OrderedSequences(const Sequences& given)
      : ops_(as_contiguous(given.ops)),
        params_(as_contiguous(given.params)),
        masks_(as_contiguous(given.masks)),
        mask_index_(as_contiguous(given.mask_index)),
        exclusive_(as_contiguous(given.exclusive)) {}

  template <typename A>
  EditSequences<A> view([[maybe_unused]] const char* op) const {
    const bool hard = masks_ && masks_->scalar_type() == ScalarType::Bool;
    const EditSequences<A> sequences = {
        .ops = data<int64_t>(ops_),
        .params = data<A>(params_),
        .mask_index = mask_index_ ? data<int64_t>(*mask_index_) : nullptr,
        .exclusive = exclusive_ ? data<bool>(*exclusive_) : nullptr,
        .soft_masks = masks_ && !hard ? data<A>(*masks_) : nullptr,
        .hard_masks = hard ? data<bool>(*masks_) : nullptr,
        .masks = masks_ ? masks_->size(0) : 0,
        .steps = ops_.size(1),
    };
#if !defined(LDIE_BACKEND_CUDA)
    for (int64_t sample = 0; sample < ops_.size(0); ++sample) {
      for (int64_t step = 0; step < sequences.steps; ++step) check_step(op, sequences, sample, step);
    }
#endif
    return sequences;
  }

 private:
  Tensor ops_, params_;
  Optional masks_, mask_index_, exclusive_;
};

Tensor apply_edits_op(const Tensor& images_, const Tensor& ops, const Tensor& params, const Optional& masks,
                      const Optional& mask_index, const Optional& exclusive, int64_t layout_) {
  constexpr const char* op = "apply_edits";
  const auto layout = checked_option<Layout>(op, "layout", layout_);
  const bool bytes = images_.scalar_type() == ScalarType::Byte, last = layout == Layout::kChannelsLast;
  const Argument images_given(op, "images", images_);
  if (!bytes && !is_floating(images_.scalar_type())) {
    images_given.fail("must be float32, float64, float16, bfloat16 or uint8");
  }
  if (last && !bytes) images_given.fail("must be uint8 where channels come last");
  if (last) {
    images_given.shape({kAnySize, kAnySize, kAnySize, 3}, "[B, H, W, 3]");
  } else {
    images_given.shape({kAnySize, 3, kAnySize, kAnySize}, "[B, 3, H, W]");
  }
  const Sequences given{ops, params, masks, mask_index, exclusive};
  check_sequences(op, images_given, given, acc_dtype(images_), layout);
  const Tensor images = as_contiguous(images_);
  const OrderedSequences sequences(given);
  const int64_t batch = images.size(0), pixels = images.numel() / (batch > 0 ? 3 * batch : 1);
  Tensor out = make_empty_like(images);

  const auto launch = [&]<typename T>(Context& context) {
    apply_edits<T>({.images = data<T>(images),
                    .layout = layout,
                    .batch = batch,
                    .pixels = pixels,
                    .width = images.size(last ? 2 : 3),
                    .sequences = sequences.view<acc_t<T>>(op),
                    .out = mutable_data<T>(out)},
                   context);
  };
  if (bytes) {
    TensorContext context(images);
    launch.template operator()<uint8_t>(context);
  } else {
    launch_floating(images, launch);
  }
  return out;
}

std::tuple<Tensor, Tensor> apply_edits_backward_op(const Tensor& grad_, const Tensor& images_, const Tensor& ops,
                                                   const Tensor& params, const Optional& masks,
                                                   const Optional& mask_index, const Optional& exclusive) {
  constexpr const char* op = "apply_edits_backward";
  const Argument images_given = Argument(op, "images", images_).floating();
  images_given.shape({kAnySize, 3, kAnySize, kAnySize}, "[B, 3, H, W]");
  Argument(op, "grad", grad_).shape_of(images_given).dtype_of(images_given).device_of(images_given);
  const Sequences given{ops, params, masks, mask_index, exclusive};
  check_sequences(op, images_given, given, acc_dtype(images_), Layout::kChannelsFirst);
  const Tensor images = as_contiguous(images_), grad = as_contiguous(grad_);
  const OrderedSequences sequences(given);
  const int64_t batch = images.size(0), pixels = images.numel() / (batch > 0 ? 3 * batch : 1);
  Tensor grad_images = make_empty_like(images), grad_params = make_empty_like(params);

  launch_floating(images, [&]<typename T>(Context& context) {
    apply_edits_backward<T>({.grad = data<T>(grad),
                             .images = data<T>(images),
                             .batch = batch,
                             .pixels = pixels,
                             .width = images.size(3),
                             .sequences = sequences.view<acc_t<T>>(op),
                             .grad_images = mutable_data<T>(grad_images),
                             .grad_params = mutable_data<acc_t<T>>(grad_params)},
                            context);
  });
  return {grad_images, grad_params};
}

LDIE_OP(apply_edits, apply_edits_op,
        "(Tensor images, Tensor ops, Tensor params, Tensor? masks, Tensor? mask_index, Tensor? exclusive, int layout) "
        "-> Tensor");
LDIE_OP(apply_edits_backward, apply_edits_backward_op,
        "(Tensor grad, Tensor images, Tensor ops, Tensor params, Tensor? masks, Tensor? mask_index, Tensor? exclusive) "
        "-> (Tensor, Tensor)");

}  // namespace
}  // namespace ldie::editing
