// SPDX-License-Identifier: Apache-2.0
#include "editing/edit_distances.h"

#include <tuple>

#include "core/library_tensors.h"
#include "core/tensors.h"
#include "editing/edit_sequences_tensors.h"

namespace ldie::editing {
namespace {

// Images and their targets, checked and in order in memory, and the sequences.
class Pairs {
 public:
  Pairs(const char* op, const Tensor& images, const Tensor& targets, const Sequences& given, int64_t metric)
      : op_(op),
        metric_(checked_option<Metric>(op, "metric", metric)),
        images_(checked(op, images, targets, given)),
        targets_(as_contiguous(targets)),
        sequences_(given),
        candidates_(given.ops.size(1)) {}

  template <typename T>
  EditPairs<T> view() const {
    const int64_t batch = images_.size(0);
    return {
        .images = data<T>(images_),
        .targets = data<T>(targets_),
        .batch = batch,
        .candidates = candidates_,
        .height = images_.size(2),
        .width = images_.size(3),
        .sequences = sequences_.view<acc_t<T>>(op_),
        .metric = metric_,
    };
  }

  // Calls body<T>(context) for the images' elements.
  template <typename Body>
  void launch(const Body& body) const {
    TensorContext context(images_);
    if (images_.scalar_type() == ScalarType::Byte) {
      body.template operator()<uint8_t>(context);
    } else {
      launch_floating(images_, context, body);
    }
  }

 private:
  static Tensor checked(const char* op, const Tensor& images_, const Tensor& targets, const Sequences& given) {
    const Argument images(op, "images", images_);
    if (images_.scalar_type() != ScalarType::Byte && !is_floating(images_.scalar_type())) {
      images.fail("must be float32, float64, float16, bfloat16 or uint8");
    }
    images.shape({kAnySize, 3, kAnySize, kAnySize}, "[B, 3, H, W]");
    Argument(op, "targets", targets).shape_of(images).dtype_of(images).device_of(images);
    check_sequences(op, images, images_.size(2), images_.size(3), given, acc_dtype(images_));
    return as_contiguous(images_);
  }

  const char* op_;
  Metric metric_;
  Tensor images_, targets_;
  OrderedSequences sequences_;
  int64_t candidates_;
};

Tensor edit_distances_op(const Tensor& images, const Tensor& targets, const Tensor& ops, const Tensor& params,
                         const Optional& masks, const Optional& mask_index, const Optional& exclusive, int64_t metric) {
  constexpr const char* op = "edit_distances";
  const Pairs pairs(op, images, targets, {ops, params, masks, mask_index, exclusive, true}, metric);
  Tensor out = make_empty(images, {ops.size(0), ops.size(1)}, acc_dtype(images));
  pairs.launch([&]<typename T>(Context& context) {
    edit_distances<T>({pairs.view<T>(), mutable_data<acc_t<T>>(out)}, context);
  });
  return out;
}

// Gradients in the type that is computed in; that of images or targets is empty where it is not wanted.
std::tuple<Tensor, Tensor, Tensor> edit_distances_backward_op(const Tensor& grad_, const Tensor& images,
                                                              const Tensor& targets, const Tensor& ops,
                                                              const Tensor& params, const Optional& masks,
                                                              const Optional& mask_index, const Optional& exclusive,
                                                              int64_t metric, bool of_images, bool of_targets) {
  constexpr const char* op = "edit_distances_backward";
  const Pairs pairs(op, images, targets, {ops, params, masks, mask_index, exclusive, true}, metric);
  Argument(op, "grad", grad_)
      .dtype(acc_dtype(images))
      .shape({ops.size(0), ops.size(1)}, "[B, P], as ops")
      .device_of(Argument(op, "images", images));
  const Tensor grad = as_contiguous(grad_);
  const auto make_gradient = [&](bool wanted) {
    if (!wanted) return make_empty(images, {0}, acc_dtype(images));
    return make_empty(images, {images.size(0), 3, images.size(2), images.size(3)}, acc_dtype(images));
  };
  Tensor grad_images = make_gradient(of_images), grad_targets = make_gradient(of_targets);
  Tensor grad_params = make_empty_like(params);
  pairs.launch([&]<typename T>(Context& context) {
    using A = acc_t<T>;
    edit_distances_backward<T>({.pairs = pairs.view<T>(),
                                .grad = data<A>(grad),
                                .grad_images = of_images ? mutable_data<A>(grad_images) : nullptr,
                                .grad_targets = of_targets ? mutable_data<A>(grad_targets) : nullptr,
                                .grad_params = mutable_data<A>(grad_params)},
                               context);
  });
  return {grad_images, grad_targets, grad_params};
}

LDIE_OP(edit_distances, edit_distances_op,
        "(Tensor images, Tensor targets, Tensor ops, Tensor params, Tensor? masks, Tensor? mask_index, "
        "Tensor? exclusive, int metric) -> Tensor");
LDIE_OP(edit_distances_backward, edit_distances_backward_op,
        "(Tensor grad, Tensor images, Tensor targets, Tensor ops, Tensor params, Tensor? masks, Tensor? mask_index, "
        "Tensor? exclusive, int metric, bool of_images, bool of_targets) -> (Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace ldie::editing
