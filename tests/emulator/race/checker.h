// SPDX-License-Identifier: Apache-2.0
// The race checker. Two accesses to the same bytes by different CUDA threads, at least one a write and not both
// atomic, race unless ordering.h puts one before the other. Also finds accesses outside the arrays of shared memory and
// reads of what the block never wrote there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "race/ordering.h"
#include "race/shadow.h"
#include "simt/engine.h"

namespace simt::race {

struct Range {
  std::uintptr_t low = 0, high = 0;
  bool holds(std::uintptr_t address) const { return address >= low && address < high; }
};
inline Range range(const void* low, const void* high) {
  return {reinterpret_cast<std::uintptr_t>(low), reinterpret_cast<std::uintptr_t>(high)};
}

class Checker {
 public:
  static Checker& instance();

  void launch_begins(const std::string& kernel, dim3 block_size);
  void block_begins(uint3 block, Range shared);
  std::string block_ends();  // the report, empty when all was well
  void shared_array(const char* name, Range bytes);
  void thread_runs(unsigned thread, Range stack);
  void block_barrier() { ordering_.block_barrier(); }
  void warp_barrier(unsigned warp, unsigned lanes) { ordering_.warp_barrier(warp, lanes); }
  void fence() { ordering_.fence(self_); }
  void access(const void* address, std::size_t bytes, std::uint8_t kind, const void* program_counter) {
    if (active_) check(reinterpret_cast<std::uintptr_t>(address), bytes, kind, program_counter);
  }

 private:
  struct Array {
    const char* name;
    Range bytes;
  };
  struct SharedWord {  // which of its bytes belong to an array of the running block, and which the block has written
    std::uint32_t block;
    std::uint8_t allocated, written;
  };

  void check(std::uintptr_t address, std::size_t bytes, std::uint8_t kind, const void* program_counter);
  void check_shared(const Access& now, std::uintptr_t address);
  void check_word(const Access& now, std::uintptr_t address, bool shared);
  bool stale(const Access& access, bool shared) const;
  int dispensability(const Access& access, const Access& now) const;

  // report.cpp
  bool worth_reporting(std::int32_t first, std::int32_t second);
  void report_race(const Access& earlier, const Access& now, std::uintptr_t address);
  void report_misuse(const Access& now, const std::string& what);
  void start_report(const std::string& what);
  std::string name_of(const Access& access) const;
  std::string name_of_place(std::uintptr_t address) const;

  // Whether this OS thread runs a kernel: host code of the same file, on other threads, is instrumented too.
  __attribute__((tls_model("initial-exec"))) inline static thread_local bool active_ = false;
  std::uint32_t block_ = 0, first_block_ = 1;  // serial numbers: of the running block, of the launch's first
  unsigned self_ = 0;
  Range stack_, shared_;
  ShadowMemory shadow_;
  Ordering ordering_;
  std::vector<SharedWord> shared_words_;

  std::string kernel_;
  dim3 block_size_;
  std::vector<uint3> block_indices_;  // of this launch's blocks
  std::vector<Array> arrays_;
  std::set<std::pair<std::int32_t, std::int32_t>> reported_;
  std::string report_;
};

}  // namespace simt::race
