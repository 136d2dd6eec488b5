// SPDX-License-Identifier: Apache-2.0
// What happens before what, by CUDA's rules and not by the order in which this run happened to do it:
//   - a thread's own accesses, in program order;
//   - __syncthreads, for all threads of the block;
//   - __syncwarp, for the lanes of its mask (shuffles and votes order nothing, as CUDA documents);
//   - __threadfence followed by an atomic (release), observed by an atomic on the same word (acquire), for any threads
//     of the grid: the "last block done" pattern. What a barrier had ordered before the fence is released with it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/thread.h"

namespace simt::race {

// When a thread did something: the number of barriers its block had passed, and the thread's own clock since then.
struct Moment {
  std::uint16_t barrier = 0, clock = 0;
  bool operator==(const Moment&) const = default;
  bool operator<=(const Moment& other) const {
    return barrier < other.barrier || (barrier == other.barrier && clock <= other.clock);
  }
};

class Ordering {
 public:
  void launch_begins();
  void block_begins(std::uint32_t block, unsigned threads);
  void block_barrier();
  void warp_barrier(unsigned warp, unsigned lanes);
  void fence(unsigned thread);
  // An atomic access of the running block to the word: a load acquires what was released there, a store releases what
  // the thread has fenced. Returns the moment to remember the access by: a releasing store counts as released itself.
  Moment atomic(unsigned thread, std::uintptr_t word, bool load, bool store);

  Moment now(unsigned thread) const { return {barrier_, clock_[thread]}; }
  // Whether something done by `thread` of `block` at `when` happens before what `self` of the running block does now.
  bool before(std::uint32_t block, unsigned thread, Moment when, unsigned self) const;

 private:
  using LaneClocks = std::array<std::uint16_t, kWarpSize>;
  using Fences = std::vector<Moment>;

  struct Release {  // what one thread had fenced when it did an atomic
    std::uint32_t block;
    std::uint16_t thread;
    std::uint16_t barrier;                    // at its fence: everything of the block before that barrier, and
    LaneClocks lanes;                         // what it knew of its own warp since, and
    std::shared_ptr<const Fences> of_others;  // what each thread had fenced before the last barrier
    bool covers(std::uint32_t block, unsigned thread, Moment when) const;
  };
  using Log = std::vector<Release>;  // of one word, in the order of the blocks
  struct Acquire {                   // by a thread of the running block
    std::uint16_t thread;
    Moment when;
    const Log* log;
    std::size_t length;  // later releases were not observed
  };
  struct Fenced {
    bool any = false;
    Moment when;
    LaneClocks lanes{};
  };

  bool before_in_block(unsigned thread, Moment when, unsigned self) const;
  void acquire(unsigned thread, const Log& log);
  void release(unsigned thread, Log& log);

  std::uint32_t block_ = 0;
  unsigned threads_ = 0;
  std::uint16_t barrier_ = 0;
  std::array<std::uint16_t, kMaxThreads> clock_{};
  std::array<LaneClocks, kMaxThreads> seen_{};  // what each thread knows of the clocks of its warp's lanes
  std::vector<Fenced> fenced_;
  bool fence_since_barrier_ = false;
  std::shared_ptr<const Fences> fences_before_barrier_;
  std::vector<Acquire> acquires_;
  std::unordered_map<std::uintptr_t, Log> logs_;
};

}  // namespace simt::race
