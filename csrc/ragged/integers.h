// SPDX-License-Identifier: Apache-2.0
// Integers that the host knows, such as offsets and sizes given as lists, as a tensor. On a GPU they travel as
// arguments of the kernel: nothing is copied from the host's memory, so that nothing waits, and a CUDA graph holds the
// values.
#pragma once

#include <cstdint>

#include "core/context.h"

namespace ldie::ragged {

struct Integers {
  static constexpr int64_t kMost = 256;  // of a launch; a kernel's arguments are at most 4 KB

  int64_t values[kMost];
  int64_t count;
  int64_t* out;  // written
};

void integers(const Integers& args, Context& context);

}  // namespace ldie::ragged
