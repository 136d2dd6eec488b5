// SPDX-License-Identifier: Apache-2.0
// The order that cells and slots are chosen in: by their key, of equal keys the lower index.
#pragma once

#include "suppression/nms.h"

namespace ldie::pyramid {

template <typename A>
using Key = suppression::score_key_t<A>;

// Ascending keys are falling values, a NaN after all numbers; -0 equals +0.
template <typename A>
LDIE_HD Key<A> falling_key(A value) {
  return value == value ? suppression::score_key(value) : Key<A>(~Key<A>(0));
}

// Ascending keys are rising values, a NaN after all numbers.
template <typename A>
LDIE_HD Key<A> rising_key(A value) {
  return falling_key(-value);
}

}  // namespace ldie::pyramid
