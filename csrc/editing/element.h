// SPDX-License-Identifier: Apache-2.0
// What an image's elements stand for.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "core/hd.h"

namespace ldie::editing {

// Elements in [0, 255] stand for numbers in [0, 1].
template <typename T>
LDIE_HD acc_t<T> to_number(T element) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    return float(element) * (1.f / 255.f);
  } else {
    return acc_t<T>(element);
  }
}

template <typename T>
LDIE_HD T to_element(acc_t<T> number) {
  if constexpr (std::is_same_v<T, uint8_t>) {
    return uint8_t(int(number * 255.f + 0.5f));
  } else {
    return T(number);
  }
}

}  // namespace ldie::editing
