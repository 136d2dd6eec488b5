// SPDX-License-Identifier: Apache-2.0
// Special values as constants: device code may not call the functions of std::numeric_limits.
#pragma once

#include <limits>

namespace ldie {

template <typename A>
constexpr A kInfinite = std::numeric_limits<A>::infinity();
template <typename A>
constexpr A kNotANumber = std::numeric_limits<A>::quiet_NaN();

}  // namespace ldie
