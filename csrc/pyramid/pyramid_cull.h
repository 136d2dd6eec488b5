// SPDX-License-Identifier: Apache-2.0
// The growth step of a mask pyramid, deaths: of the hypotheses that are present the best live on, listed in their
// order.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"
#include "pyramid/selection.h"

namespace ldie::pyramid {

template <typename T>
struct PyramidCull {
  using A = acc_t<T>;

  const uint8_t* present;  // [batch, slots]
  const T* scores;         // [batch, slots], read where present
  int64_t batch, slots, capacity;
  int64_t* kept;    // [batch, capacity] slots, rising; -1 in unused places
  int64_t* counts;  // [batch]

  LDIE_HD bool is_present(int64_t image, int64_t slot) const { return present[image * slots + slot] != 0; }
  LDIE_HD Key<A> key(int64_t image, int64_t slot) const { return falling_key(A(scores[image * slots + slot])); }
};

template <typename T>
void pyramid_cull(const PyramidCull<T>& args, Context& context);

}  // namespace ldie::pyramid
