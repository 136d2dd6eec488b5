// SPDX-License-Identifier: Apache-2.0
// Runs the CUDA threads of one block after another block.
//
// A fiber runs whole CUDA threads one after another; only a thread that has to wait keeps its stack, and another fiber
// takes over. A kernel without barriers so uses one stack and no switch.
#pragma once

#include <deque>
#include <source_location>
#include <string>
#include <vector>

#include "engine/fiber.h"
#include "engine/schedule.h"
#include "engine/shared_memory.h"
#include "engine/thread.h"

namespace simt {

class Block {
 public:
  static Block& instance();  // one block runs at a time

  void begin_launch(const Kernel& kernel, dim3 block_size, std::size_t dynamic_bytes, const Schedule& schedule);
  void run(uint3 block_index, std::uint64_t serial_number);  // throws std::runtime_error

  // Called by the running CUDA thread (simt/engine.h):
  int wait_block(bool predicate, std::source_location where);
  std::uint64_t wait_warp(WarpOp op, unsigned mask, std::uint64_t value, int source_lane, std::source_location where);
  void* shared_array(const void* identity, const char* name, std::size_t bytes, std::size_t alignment,
                     std::source_location where);
  void* dynamic_shared(std::source_location where);
  [[noreturn]] void fail(const std::string& what, std::source_location where);

  std::string running_thread() const;  // "kernel k, block (0,0,0), thread (0,0,0)", or nothing when none runs

 private:
  struct Warp {
    unsigned live = 0, waiting = 0;
  };

  Block() : fibers_(&Block::fiber_main) {}

  void reset(uint3 block_index, std::uint64_t serial_number);

  // scheduling (block.cpp)
  [[noreturn]] static void fiber_main();
  void run_fresh_threads(Fiber& fiber);
  bool has_fresh() const { return next_fresh_ < order_.size(); }
  bool prefer_ready();
  Thread* take_ready();
  void make_running(Thread& thread);
  void resume(Thread& thread);
  void pass_on();    // the running thread waits: someone else's turn
  void take_turn();  // the running thread may go on, but in schedule order
  void finish(Thread& thread);
  [[noreturn]] void leave();

  // barriers (barriers.cpp)
  bool try_release_block();
  bool try_release_warp(unsigned warp, unsigned mask);
  void make_ready();  // those in released_

  // errors (barriers.cpp): the text is built in a frame that returns before its stack is abandoned
  [[noreturn]] void stop(const char* what);
  [[noreturn]] void stop(const Thread& thread, const std::string& what);
  std::string place() const;

  const Kernel* kernel_ = nullptr;
  dim3 block_size_;
  std::size_t dynamic_bytes_ = 0;
  Schedule schedule_;
  SharedMemory shared_;
  void* dynamic_ = nullptr;

  uint3 block_index_{};
  std::vector<Thread> threads_;
  std::vector<unsigned> order_;  // in which threads are started
  std::size_t next_fresh_ = 0;
  std::deque<Thread*> ready_;
  std::vector<Thread*> released_;
  unsigned live_ = 0, at_barrier_ = 0;
  Warp warps_[kMaxWarps];
  Thread* running_ = nullptr;
  std::string error_;

  Fiber main_;
  Fiber* fiber_ = nullptr;  // the running one
  FiberPool fibers_;
};

}  // namespace simt
