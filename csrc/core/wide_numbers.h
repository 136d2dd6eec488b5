// SPDX-License-Identifier: Apache-2.0
// Numbers that are few beside an op's maps, such as positions: read as double, of a dtype that the launcher's type does
// not say.
#pragma once

#include <cstdint>

#include "core/hd.h"

namespace ldie {

// float32 or float64 elements, or none.
struct WideNumbers {
  const float* floats;
  const double* doubles;

  LDIE_HD bool given() const { return floats != nullptr || doubles != nullptr; }
  LDIE_HD double operator[](int64_t i) const { return doubles != nullptr ? doubles[i] : double(floats[i]); }
};

}  // namespace ldie
