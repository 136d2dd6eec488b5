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

constexpr int64_t kParameters = 24;   // a row, whatever the operator uses of it
constexpr int64_t kMostSteps = 32;    // of one sample
constexpr int64_t kMostStencils = 8;  // of them; more are refused on the CPU, and on CUDA those after them do nothing

// Reads a pixel's neighbours: pixels are edited together with those around them, as far as all stencils reach.
LDIE_HD bool is_stencil(EditOp op) { return op == EditOp::kSharpness || op == EditOp::kBlur || op == EditOp::kEdge; }

// What is no operator leaves the image as it is.
LDIE_HD bool is_operator(EditOp op) { return op > EditOp::kNone && op <= EditOp::kColorize; }

}  // namespace ldie::editing
