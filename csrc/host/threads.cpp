// SPDX-License-Identifier: Apache-2.0
#include "host/threads.h"

#include <sched.h>

#include <cstdlib>

namespace ldie::host {

namespace {

int64_t default_threads() {
  const char* const wanted = std::getenv("OMP_NUM_THREADS");
  const long count = wanted ? std::strtol(wanted, nullptr, 10) : 0;
  if (count > 0) return count;
  cpu_set_t cores;
  const bool known = sched_getaffinity(0, sizeof cores, &cores) == 0;
  return std::max<int64_t>(1, known ? CPU_COUNT(&cores) : std::thread::hardware_concurrency());
}

std::atomic<int64_t>& thread_limit() {
  static std::atomic<int64_t> limit{default_threads()};
  return limit;
}

}  // namespace

int64_t host_threads() { return thread_limit(); }

void set_host_threads(int64_t count) {
  if (count < 1) throw std::invalid_argument("threads must be at least 1, got " + std::to_string(count));
  thread_limit() = count;
}

}  // namespace ldie::host
