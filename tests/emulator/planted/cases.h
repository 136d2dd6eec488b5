// SPDX-License-Identifier: Apache-2.0
// Planted bugs: kernels that exist twice, with a bug and without, so that the checks can be seen to speak up and to
// stay silent.
#pragma once

#include <string>

#include "core/simt.cuh"

namespace planted {

constexpr int kThreads = 256, kInputs = 4 * kThreads, kBins = 16;

struct Buffers {      // of exactly these sizes, on the heap
  const float* in;    // [kInputs], 16-byte aligned
  const int* bin;     // [kThreads], each in 0 .. kBins - 1
  float* out;         // [kThreads], zeros
  int* histogram;     // [kBins], zeros
  unsigned* counter;  // [1], zero
};

using Run = void (*)(bool bug, const Buffers& buffers);

struct Case {
  Case(const char* name, Run run);
};

}  // namespace planted

// PLANTED(kernel, grid, block, shared_bytes, arguments...): `kernel` is a template over whether the bug is in; the
// arguments may use `buffers`.
#define PLANTED(kernel, grid, block, shared_bytes, ...)                                      \
  const planted::Case kernel##_case(#kernel, [](bool bug, const planted::Buffers& buffers) { \
    if (bug) {                                                                               \
      LDIE_LAUNCH(kernel<true>, grid, block, shared_bytes, nullptr, __VA_ARGS__);            \
    } else {                                                                                 \
      LDIE_LAUNCH(kernel<false>, grid, block, shared_bytes, nullptr, __VA_ARGS__);           \
    }                                                                                        \
  });
