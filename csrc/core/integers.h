// SPDX-License-Identifier: Apache-2.0
// Words of whole numbers, for counts >= 0 and sizes > 0.
#pragma once

#include <type_traits>

#include "core/hd.h"

namespace ldie {

// How many pieces of this size hold `count`.
template <typename Count, typename Size>
constexpr LDIE_HD std::common_type_t<Count, Size> ceil_div(Count count, Size size) {
  return (count + size - 1) / size;
}

// The least multiple that is not below `count`.
template <typename Count, typename Size>
constexpr LDIE_HD std::common_type_t<Count, Size> round_up(Count count, Size multiple) {
  return ceil_div(count, multiple) * multiple;
}

}  // namespace ldie
