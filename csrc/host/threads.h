// SPDX-License-Identifier: Apache-2.0
// Threads for the host module, which has no torch to ask for a pool. They live for one call, so a forked data-loader
// worker inherits none, and a call with little to do starts none.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace ldie::host {

// Threads a call may use: what set_host_threads() said, else OMP_NUM_THREADS, else the cores this process may run on.
int64_t host_threads();
void set_host_threads(int64_t count);

// The failure of the first item that failed, whichever thread met it.
class FirstFailure {
 public:
  void note(int64_t item, std::exception_ptr error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error_ && item_ < item) return;
    item_ = item;
    error_ = std::move(error);
  }
  // Throws std::invalid_argument "<name> <item>: <what>" where an item was invalid.
  void rethrow(const char* name) const {
    if (!error_) return;
    try {
      std::rethrow_exception(error_);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(std::string(name) + " " + std::to_string(item_) + ": " + error.what());
    }
  }

 private:
  std::mutex mutex_;
  int64_t item_ = 0;
  std::exception_ptr error_;
};

// Calls body(item) for every item from 0 to count - 1, on several threads if `work` (about nanoseconds of one thread)
// is worth starting them. What an item leaves must not depend on the thread. An invalid item, called `name`, ends in
// std::invalid_argument.
template <typename Body>
void for_each_item(int64_t count, int64_t work, const char* name, const Body& body) {
  constexpr int64_t kWorkOfThread = 200'000, kSharesOfThread = 16;
  const int64_t wanted = std::min({host_threads(), count, 1 + work / kWorkOfThread});
  const int64_t share = 1 + count / (kSharesOfThread * std::max<int64_t>(wanted, 1));  // taken at once
  std::atomic<int64_t> next{0};
  FirstFailure failure;
  const auto run = [&] {
    for (int64_t begin = next.fetch_add(share); begin < count; begin = next.fetch_add(share)) {
      for (int64_t item = begin; item < std::min(begin + share, count); ++item) {
        try {
          body(item);
        } catch (...) {
          failure.note(item, std::current_exception());
        }
      }
    }
  };
  std::vector<std::thread> helpers;
  try {
    while (int64_t(helpers.size()) + 1 < wanted) helpers.emplace_back(run);
  } catch (const std::system_error&) {  // no more threads to be had: those at hand do the work
  }
  run();
  for (std::thread& helper : helpers) helper.join();
  failure.rethrow(name);
}

}  // namespace ldie::host
