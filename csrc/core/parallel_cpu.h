// SPDX-License-Identifier: Apache-2.0
// Threads for the CPU launchers: PyTorch's own pool, so torch.set_num_threads() rules here too.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/c/shim.h>

#include <atomic>
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

// For tasks of very different length: calls body(next, worker) for each of the workers, where each next() is the next
// number of a task, and the body knows how many there are. What a task leaves must not depend on the worker that does
// it.
template <typename Body>
void parallel_workers(int64_t workers, const Body& body) {
  std::atomic<int64_t> started{0};
  const auto next = [&started] { return started++; };
  parallel_for(workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) body(next, worker);
  });
}

// As many workers as there are threads, or tasks if they are fewer: body(next).
template <typename Body>
void parallel_tasks(int64_t count, const Body& body) {
  const int64_t workers = num_threads() < count ? num_threads() : count;
  parallel_workers(workers, [&](const auto& next, int64_t) { body(next); });
}

}  // namespace ldie
