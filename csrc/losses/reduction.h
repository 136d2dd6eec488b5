// SPDX-License-Identifier: Apache-2.0
// How a loss per element becomes the result.
#pragma once

#include <cstdint>

namespace ldie::losses {

// The values are the schemas' ints.
enum class Reduction : int64_t { kNone = 0, kMean = 1, kSum = 2 };
constexpr Reduction last_option(Reduction) { return Reduction::kSum; }

// What the sum is multiplied with; of nothing the mean is NaN, as in PyTorch.
inline double reduction_scale(Reduction reduction, int64_t count) {
  return reduction == Reduction::kMean ? 1.0 / double(count) : 1.0;
}

}  // namespace ldie::losses
