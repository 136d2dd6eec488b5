// SPDX-License-Identifier: Apache-2.0
// Threads for the CPU launchers: PyTorch's own pool, so torch.set_num_threads() rules here too.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/c/shim.h>

#include <cstdint>

namespace ldie {

// Calls body(begin, end) over disjoint ranges that cover [0, count), each of at least `grain` items but for the last.
// The body must not throw: an exception cannot cross the pool's C boundary.
template <typename Body>
void parallel_for(int64_t count, int64_t grain, const Body& body) {
  if (count <= grain) {  // not worth waking a worker
    if (count > 0) body(int64_t(0), count);
    return;
  }
  auto call = [](int64_t begin, int64_t end, void* context) { (*static_cast<const Body*>(context))(begin, end); };
  torch_parallel_for(0, count, grain, call, const_cast<void*>(static_cast<const void*>(&body)));
}

inline int64_t num_threads() {
  uint32_t count = 1;
  torch_get_num_threads(&count);
  return int64_t(count);
}

}  // namespace ldie
