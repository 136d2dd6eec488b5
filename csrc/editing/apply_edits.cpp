// SPDX-License-Identifier: Apache-2.0
#include "editing/apply_edits.h"

#include <tuple>

#include "core/library_tensors.h"
#include "core/tensors.h"
#include "editing/edit_sequences_tensors.h"

namespace ldie::editing {
namespace {

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
  check_sequences(op, images_given, images_.size(last ? 1 : 2), images_.size(last ? 2 : 3), given, acc_dtype(images_));
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
  check_sequences(op, images_given, images_.size(2), images_.size(3), given, acc_dtype(images_));
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
