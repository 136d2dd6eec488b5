// SPDX-License-Identifier: Apache-2.0
#include "losses/gather_upsample_dice.h"

#include <optional>
#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"
#include "losses/reduction_tensors.h"
#include "masks/mask_tensors.h"

namespace ldie::losses {
namespace {

using Index = std::optional<Tensor>;

// The arguments' tensors, checked and kept while the launcher runs. The logits stay as they lie: few of their rows are
// read.
struct Inputs {
  Tensor logits, targets;
  Index cells, rows;
  int64_t count, target_width;
  bool align_corners, sigmoid_first;

  Inputs(const char* op, const Tensor& logits_, const Tensor& targets_, int64_t width, bool packed, const Index& cells_,
         const Index& rows_, bool align_corners_, bool sigmoid_first_)
      : logits(logits_),
        targets(as_contiguous(targets_)),
        cells(as_contiguous(cells_)),
        rows(as_contiguous(rows_)),
        target_width(width),
        align_corners(align_corners_),
        sigmoid_first(sigmoid_first_) {
    const Argument given = Argument(op, "logits", logits).floating().shape({kAnySize, kAnySize, kAnySize}, "[R, h, w]");
    check_map_size(op, given.size(1), given.size(2));
    if (given.size(1) < 1 || given.size(2) < 1) given.fail("must have maps of at least one element");
    count = cells ? cells->numel() : rows ? rows->numel() : given.size(0);
    if (cells) check_index(op, "cells", *cells, given);
    if (rows) check_index(op, "rows", *rows, given);
    if (!cells && count != given.size(0)) {
      check_failed(op, "rows must name a target for each of the ", given.size(0), " logits without cells, got ", count);
    }
    const Argument masks = Argument(op, "targets", targets).device_of(given);
    if (soft() && !packed) {
      masks.dtype_of(given).shape({kAnySize, kAnySize, width}, "[T, H, W]");
      masks::check_pixels(op, "targets", masks.size(1), width);
    } else {
      masks::check_masks(op, "targets", targets, width, packed);
    }
    if (masks.size(1) < given.size(1) || width < given.size(2)) {
      check_failed(op, "targets must be at least as large as logits, (", given.size(1), ", ", given.size(2), "), got (",
                   masks.size(1), ", ", width, ")");
    }
    if (!rows && masks.size(0) != count) masks.fail("must have a row for each of the ", count, " cells without rows");
  }

  template <typename T>
  UpsampledDice<T> pointers() const {
    return {.logits = {data<T>(logits), logits.stride(0), logits.stride(1), logits.stride(2)},
            .slots = {.cells = cells ? data<int64_t>(*cells) : nullptr,
                      .rows = rows ? data<int64_t>(*rows) : nullptr,
                      .count = count,
                      .cell_count = logits.size(0),
                      .row_count = targets.size(0)},
            .vertical = {logits.size(1), targets.size(1), align_corners},
            .horizontal = {logits.size(2), target_width, align_corners},
            .masks = soft() ? masks::MaskSet{} : masks::mask_set(targets, target_width),
            .soft = soft() ? data<T>(targets) : nullptr,
            .sigmoid_first = sigmoid_first};
  }

 private:
  // Not masks.
  bool soft() const { return is_floating(targets.scalar_type()); }

  void check_index(const char* op, const char* name, const Tensor& index, const Argument& given) const {
    Argument(op, name, index).dtype(ScalarType::Long).shape({count}, "[n], one for each cell").device_of(given);
  }
};

std::tuple<Tensor, Tensor, Tensor> gather_upsample_dice_op(const Tensor& logits, const Tensor& targets, int64_t width,
                                                           bool packed, const Index& cells, const Index& rows,
                                                           bool align_corners, bool sigmoid_first,
                                                           double smooth_numerator, double smooth_denominator,
                                                           int64_t reduction_) {
  constexpr const char* op = "gather_upsample_dice";
  const Inputs inputs(op, logits, targets, width, packed, cells, rows, align_corners, sigmoid_first);
  const auto reduction = checked_option<Reduction>(op, "reduction", reduction_);
  const ScalarType dtype = acc_dtype(logits);
  Tensor loss =
      reduction == Reduction::kNone ? make_empty(logits, {inputs.count}, dtype) : make_empty(logits, {}, dtype);
  Tensor fractions = make_empty(logits, {inputs.count, 2}, ScalarType::Double);
  Tensor scale = make_empty(logits, {}, ScalarType::Double);
  launch_floating(logits, [&]<typename T>(Context& context) {
    gather_upsample_dice<T>({.maps = inputs.pointers<T>(),
                             .rows = {.count = inputs.count,
                                      .smooth = {smooth_numerator, smooth_denominator},
                                      .reduction = reduction,
                                      .loss = mutable_data<acc_t<T>>(loss),
                                      .fractions = mutable_data<DiceFraction>(fractions)},
                             .scale = mutable_data<double>(scale)},
                            context);
  });
  return {loss, fractions, scale};
}

Tensor gather_upsample_dice_backward_op(const Tensor& grad_, const Tensor& logits, const Tensor& targets, int64_t width,
                                        bool packed, const Index& cells, const Index& rows, bool align_corners,
                                        bool sigmoid_first, const Tensor& fractions_, const Tensor& scale,
                                        int64_t reduction_) {
  constexpr const char* op = "gather_upsample_dice_backward";
  const Inputs inputs(op, logits, targets, width, packed, cells, rows, align_corners, sigmoid_first);
  const auto reduction = checked_option<Reduction>(op, "reduction", reduction_);
  const Argument given(op, "logits", logits), upstream(op, "grad", grad_);
  reduction == Reduction::kNone ? upstream.shape({inputs.count}, "[n]") : upstream.shape({}, "[]");
  upstream.dtype(acc_dtype(logits)).device_of(given);
  Argument(op, "fractions", fractions_).shape({inputs.count, 2}, "[n, 2]").dtype(ScalarType::Double).device_of(given);
  Argument(op, "scale", scale).shape({}, "[]").dtype(ScalarType::Double).device_of(given);
  const Tensor grad = as_contiguous(grad_), fractions = as_contiguous(fractions_);
  MostlyZero gradient =
      make_mostly_zero(logits, {logits.size(0), logits.size(1), logits.size(2)}, logits.scalar_type());
  launch_floating(logits, [&]<typename T>(Context& context) {
    gather_upsample_dice_backward<T>({.maps = inputs.pointers<T>(),
                                      .upstream = {data<acc_t<T>>(grad), data<DiceFraction>(fractions), reduction},
                                      .scale = data<double>(scale),
                                      .grad_logits = mutable_data<T>(gradient.tensor),
                                      .zeroed = gradient.zeroed},
                                     context);
  });
  return gradient.tensor;
}

LDIE_OP(gather_upsample_dice, gather_upsample_dice_op,
        "(Tensor logits, Tensor targets, SymInt width, bool packed, Tensor? cells, Tensor? rows, bool align_corners,"
        " bool sigmoid_first, float smooth_numerator, float smooth_denominator, int reduction)"
        " -> (Tensor, Tensor, Tensor)");
LDIE_OP(gather_upsample_dice_backward, gather_upsample_dice_backward_op,
        "(Tensor grad, Tensor logits, Tensor targets, SymInt width, bool packed, Tensor? cells, Tensor? rows,"
        " bool align_corners, bool sigmoid_first, Tensor fractions, Tensor scale, int reduction) -> Tensor");

}  // namespace
}  // namespace ldie::losses
