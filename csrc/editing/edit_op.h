// SPDX-License-Identifier: Apache-2.0
// The operators that there are. ldie_ext/ops/editing/edit_op.py has the same numbers.
#pragma once

#include <cstdint>

#include "core/hd.h"

namespace ldie::editing {

enum class EditOp : int64_t {
  kNone,
  kBrightness,
  kContrast,
  kSaturation,
  kColorCurve,
  kToneCurve,
  kSharpness,
  kExposure,
  kBlackWhite,
  kWhiteBalance,
  kHue,
  kLightness,
  kBlur,
  kEdge,
  kColorBackground,
  kColorize,
};

constexpr EditOp last_option(EditOp) { return EditOp::kColorize; }

constexpr int64_t kParameters = 24;  // a row, whatever the operator uses of it
constexpr int64_t kMostSteps = 32;   // of one sample

// Reads a pixel's neighbours, so that a run of pointwise steps ends before it.
LDIE_HD bool is_stencil(EditOp op) { return op == EditOp::kSharpness || op == EditOp::kBlur || op == EditOp::kEdge; }

// Edits each pixel by itself. What is neither is no operator and leaves the image as it is.
LDIE_HD bool is_pointwise(EditOp op) { return op > EditOp::kNone && op <= EditOp::kColorize && !is_stencil(op); }

}  // namespace ldie::editing
