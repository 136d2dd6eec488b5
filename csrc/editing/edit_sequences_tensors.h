// SPDX-License-Identifier: Apache-2.0
// Tensor side: sequences of edits as operators get them, checked and in order in memory.
#pragma once

#include <optional>
#include <string>

#include "core/argument_tensors.h"
#include "core/tensors.h"
#include "editing/edit_sequences.h"

namespace ldie::editing {

using Optional = std::optional<Tensor>;

// The sequences' arguments as they came: one of each image, ops [B, K], or one of each candidate, ops [B, P, K].
struct Sequences {
  const Tensor &ops, &params;
  const Optional &masks, &mask_index, &exclusive;
  bool of_candidates = false;
};

inline void check_masks(const char* op, const Argument& images, int64_t height, int64_t width, const Argument& ops,
                        const Sequences& given, ScalarType computed) {
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
  if (given.exclusive) {
    Argument(op, "exclusive", *given.exclusive).dtype(ScalarType::Bool).shape_of(ops).device_of(images);
  }
}

// For images of this height and width that are computed in this type.
inline void check_sequences(const char* op, const Argument& images, int64_t height, int64_t width,
                            const Sequences& given, ScalarType computed) {
  const Argument ops = Argument(op, "ops", given.ops).dtype(ScalarType::Long);
  const Argument params = Argument(op, "params", given.params).dtype(computed);
  const int64_t batch = images.size(0);
  if (given.of_candidates) {
    ops.shape({batch, kAnySize, kAnySize}, "[B, P, K]");
  } else {
    ops.shape({batch, kAnySize}, "[B, K]");
  }
  ops.device_of(images);
  const int64_t steps = ops.size(given.of_candidates ? 2 : 1);
  if (steps > kMostSteps) check_failed(op, "ops must have at most ", kMostSteps, " steps, got ", steps);
  if (given.of_candidates) {
    params.shape({batch, ops.size(1), steps, kParameters}, "[B, P, K, 24], as ops");
  } else {
    params.shape({batch, steps, kParameters}, "[B, K, 24], as ops");
  }
  params.device_of(images);
  check_masks(op, images, height, width, ops, given, computed);
}

#if !defined(LDIE_BACKEND_CUDA)
// What only the values tell is checked where the host can read them. On CUDA that would be a synchronisation: there a
// step with no operator, or with a mask that is not there, leaves the image as it is, and a curve's sum is clamped.
// place() is how messages name the step, such as "0, 2".
template <typename A, typename Place>
void check_step(const char* op, const EditSequences<A>& sequences, int64_t at, const Place& place) {
  const auto edit = given_operator(sequences, at);
  if (edit != EditOp::kNone && !is_operator(edit)) {
    check_failed(op, "ops must be numbers of EditOp, 0 to ", static_cast<int64_t>(last_option(EditOp())), ", but ops[",
                 place(), "] is ", sequences.ops[at]);
  }
  if (is_stencil(edit) && count_stencils(sequences, at / sequences.steps * sequences.steps, at) >= kMostStencils) {
    check_failed(op, "ops must have at most ", kMostStencils, " of SHARPNESS, BLUR and EDGE in a sample, but ops[",
                 place(), "] is one more");
  }
  const int curves = edit == EditOp::kColorCurve ? 3 : edit == EditOp::kToneCurve ? 1 : 0;
  for (int curve = 0; curve < curves; ++curve) {
    const double sum = double(curve_sum(sequences.params + at * kParameters + curve * kPieces));
    if (!(sum > kLeastCurveSum)) {
      check_failed(op, "params of a curve must sum to more than ", kLeastCurveSum, ", but those of params[", place(),
                   "] from ", curve * kPieces, " on sum to ", sum);
    }
  }
  if (sequences.mask_index == nullptr) return;
  const int64_t mask = sequences.mask_index[at];
  if (mask != kWholeImage && sequences.masks == 0) {
    check_failed(op, "mask_index must be -1 where there are no masks, but mask_index[", place(), "] is ", mask);
  }
  if (mask < kWholeImage || mask >= sequences.masks) {
    check_failed(op, "mask_index must be the number of a mask, 0 to ", sequences.masks - 1, ", or -1, but mask_index[",
                 place(), "] is ", mask);
  }
}
#endif

// The arguments in order in memory.
class OrderedSequences {
 public:
  explicit OrderedSequences(const Sequences& given)
      : ops_(as_contiguous(given.ops)),
        params_(as_contiguous(given.params)),
        masks_(as_contiguous(given.masks)),
        mask_index_(as_contiguous(given.mask_index)),
        exclusive_(as_contiguous(given.exclusive)),
        steps_(given.ops.size(given.of_candidates ? 2 : 1)),
        candidates_(given.of_candidates ? given.ops.size(1) : 0) {}

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
        .steps = steps_,
    };
#if !defined(LDIE_BACKEND_CUDA)
    for (int64_t at = 0; at < ops_.numel(); ++at) {
      check_step(op, sequences, at, [&] { return place_of(at); });
    }
#endif
    return sequences;
  }

 private:
  std::string place_of(int64_t at) const {
    const std::string step = std::to_string(at % steps_);
    const int64_t row = at / steps_;
    if (candidates_ == 0) return std::to_string(row) + ", " + step;
    return std::to_string(row / candidates_) + ", " + std::to_string(row % candidates_) + ", " + step;
  }

  Tensor ops_, params_;
  Optional masks_, mask_index_, exclusive_;
  int64_t steps_, candidates_;
};

}  // namespace ldie::editing
