// SPDX-License-Identifier: Apache-2.0
#include "editing/edit_normal_equations.h"

#include <tuple>

#include "core/library_tensors.h"
#include "core/tensors.h"
#include "editing/edit_sequences_tensors.h"

namespace ldie::editing {
namespace {

#if !defined(LDIE_BACKEND_CUDA)
// On CUDA a problem of more columns than there is room for, or with stencils that were not told of, gets zeros.
template <typename A>
void check_problems(const char* op, const EditSequences<A>& sequences, int64_t problems, int64_t columns,
                    bool stencils) {
  for (int64_t problem = 0; problem < problems; ++problem) {
    const int64_t needed = columns > 0 ? used_columns(sequences, problem) : 0;
    if (needed > columns) check_failed(op, "columns must be at least ", needed, ", which ops have, got ", columns);
    if (!stencils && halo_of(sequences, problem) > 0) {
      check_failed(op, "stencils must be true where ops have SHARPNESS, BLUR or EDGE");
    }
  }
}
#endif

std::tuple<Tensor, Tensor, Tensor, Tensor> edit_normal_equations_op(const Tensor& images_, const Tensor& targets_,
                                                                    const Tensor& ops, const Tensor& params,
                                                                    const Optional& masks, const Optional& mask_index,
                                                                    const Optional& exclusive, const Tensor& active_,
                                                                    bool stencils, int64_t stride, int64_t columns,
                                                                    double threshold) {
  constexpr const char* op = "fit_edits";  // whose arguments these are
  const Argument images_given = Argument(op, "images", images_).float_or_double();
  images_given.shape({kAnySize, 3, kAnySize, kAnySize}, "[B, 3, H, W]");
  Argument(op, "targets", targets_).shape_of(images_given).dtype_of(images_given).device_of(images_given);
  const Sequences given{ops, params, masks, mask_index, exclusive, true};
  check_sequences(op, images_given, images_.size(2), images_.size(3), given, images_.scalar_type());
  const int64_t batch = images_.size(0), candidates = ops.size(1), steps = ops.size(2);
  if (steps > kMostFitSteps) check_failed(op, "ops must have at most ", kMostFitSteps, " steps, got ", steps);
  Argument(op, "active", active_)
      .dtype(ScalarType::Bool)
      .shape({batch, candidates}, "[B, P], as ops")
      .device_of(images_given);
  if (stride < 1) check_failed(op, "stride must be at least 1, got ", stride);
  if (columns < 0 || columns > kMostColumns) {
    check_failed(op, "columns must be in 0 .. ", kMostColumns, ", got ", columns);
  }
  if (!(threshold > 0)) check_failed(op, "threshold must be above 0, got ", threshold);

  const Tensor images = as_contiguous(images_), targets = as_contiguous(targets_), active = as_contiguous(active_);
  const OrderedSequences sequences(given);
  Tensor losses = make_empty(images, {batch, candidates}, ScalarType::Double);
  Tensor distances = make_empty(images, {batch, candidates}, ScalarType::Double);
  Tensor gradients = make_empty(images, {batch, candidates, columns}, ScalarType::Double);
  Tensor hessians = make_empty(images, {batch, candidates, columns, columns}, ScalarType::Double);
  launch_wide(images, [&]<typename T>(Context& context) {
    const EditNormalEquations<T> args = {.images = data<T>(images),
                                         .targets = data<T>(targets),
                                         .batch = batch,
                                         .candidates = candidates,
                                         .pixels = images.size(2) * images.size(3),
                                         .width = images.size(3),
                                         .sequences = sequences.view<T>(op),
                                         .active = data<bool>(active),
                                         .stencils = stencils,
                                         .stride = stride,
                                         .columns = columns,
                                         .threshold = threshold,
                                         .losses = mutable_data<double>(losses),
                                         .distances = mutable_data<double>(distances),
                                         .gradients = mutable_data<double>(gradients),
                                         .hessians = mutable_data<double>(hessians)};
#if !defined(LDIE_BACKEND_CUDA)
    check_problems(op, args.sequences, batch * candidates, columns, stencils);
#endif
    edit_normal_equations(args, context);
  });
  return {losses, distances, gradients, hessians};
}

LDIE_OP(edit_normal_equations, edit_normal_equations_op,
        "(Tensor images, Tensor targets, Tensor ops, Tensor params, Tensor? masks, Tensor? mask_index, Tensor? "
        "exclusive, Tensor active, bool stencils, int stride, int columns, float threshold) -> (Tensor, Tensor, "
        "Tensor, Tensor)");

}  // namespace
}  // namespace ldie::editing
