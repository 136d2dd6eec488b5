// SPDX-License-Identifier: Apache-2.0
#include "engine/block.h"

#include <algorithm>
#include <stdexcept>

#include "engine/collective.h"
#include "engine/report.h"
#include "race/hooks.h"

namespace simt {

constinit Current current;

Block& Block::instance() {
  static Block block;
  return block;
}

void Block::begin_launch(const Kernel& kernel, dim3 block_size, std::size_t dynamic_bytes, const Schedule& schedule) {
  kernel_ = &kernel;
  block_size_ = block_size;
  dynamic_bytes_ = dynamic_bytes;
  schedule_ = schedule;
}

void Block::run(uint3 block_index, std::uint64_t serial_number) {
  reset(block_index, serial_number);
  fiber_ = &fibers_.take();
  Fiber::switch_to(main_, *fiber_);  // returns when the block is over or has failed
  running_ = nullptr;
  if (!error_.empty()) {
    fibers_.clear();
    race::block_abandoned();
    throw std::runtime_error(error_);
  }
  race::block_ends();
}

void Block::reset(uint3 block_index, std::uint64_t serial_number) {
  const unsigned count = block_size_.x * block_size_.y * block_size_.z;
  block_index_ = block_index;
  schedule_.reseed(serial_number);
  threads_.assign(count, Thread{});
  order_.resize(count);
  uint3 index{0, 0, 0};
  for (unsigned i = 0; i < count; ++i) {
    order_[i] = i;
    threads_[i].linear = i;
    threads_[i].index = index;
    if (++index.x == block_size_.x) {
      index.x = 0;
      if (++index.y == block_size_.y) index = {0, 0, index.z + 1};
    }
  }
  schedule_.arrange(order_.data(), count);
  for (unsigned w = 0; w < kMaxWarps; ++w) {
    warps_[w] = {w * kWarpSize < count ? std::min(kWarpSize, count - w * kWarpSize) : 0, 0};
  }
  next_fresh_ = 0;
  live_ = count;
  at_barrier_ = 0;
  ready_.clear();
  error_.clear();
  fibers_.all_idle();
  shared_.reset();
  race::block_begins(block_index, shared_.low(), shared_.high());
  dynamic_ = dynamic_bytes_ ? shared_.allocate(nullptr, "dynamic", dynamic_bytes_, 16) : nullptr;
  current.block_index = block_index;
  current.block_size = block_size_;
}

// ---- scheduling

void Block::fiber_main() {
  Fiber::arrived();
  Block& block = instance();
  for (;;) {
    Fiber& self = *block.fiber_;
    block.run_fresh_threads(self);
    block.fibers_.give_back(self);
    if (Thread* thread = block.take_ready()) {
      block.resume(*thread);
    } else {
      if (block.live_ != 0) block.stop("deadlock: no thread can go on");
      block.fiber_ = &block.main_;
      Fiber::switch_to(self, block.main_);
    }
    // taken from the pool again: there are fresh threads, of this block or of a later one
  }
}

void Block::run_fresh_threads(Fiber& fiber) {
  while (has_fresh() && !prefer_ready()) {
    Thread& thread = threads_[order_[next_fresh_++]];
    thread.fiber = &fiber;
    make_running(thread);
    (*kernel_)();
    finish(thread);
  }
}

void Block::make_running(Thread& thread) {
  thread.state = State::running;
  running_ = &thread;
  current.thread_index = thread.index;
  current.lane = static_cast<int>(thread.lane());
  race::thread_runs(thread.linear, thread.fiber->low(), thread.fiber->high());
}

bool Block::prefer_ready() { return !ready_.empty() && (!schedule_.random() || schedule_.coin()); }

Thread* Block::take_ready() {
  if (ready_.empty()) return nullptr;
  if (schedule_.random()) std::swap(ready_.front(), ready_[schedule_.draw() % ready_.size()]);
  Thread* thread = ready_.front();
  ready_.pop_front();
  return thread;
}

void Block::resume(Thread& thread) {
  make_running(thread);
  if (thread.fiber == fiber_) return;
  Fiber& from = *fiber_;
  fiber_ = thread.fiber;
  Fiber::switch_to(from, *thread.fiber);
}

void Block::pass_on() {
  if (has_fresh() && !prefer_ready()) {
    Fiber& from = *fiber_;
    fiber_ = &fibers_.take();
    Fiber::switch_to(from, *fiber_);
  } else {
    take_turn();
  }
}

void Block::take_turn() {
  Thread* next = take_ready();
  if (!next) stop("deadlock: no thread can go on");
  resume(*next);
}

void Block::finish(Thread& thread) {
  thread.state = State::exited;
  --live_;
  Warp& warp = warps_[thread.warp()];
  --warp.live;
  // Lanes that have left hold nobody up, but a mask that names them is an error to be found now.
  const unsigned first = thread.warp() * kWarpSize, end = std::min(first + kWarpSize, unsigned(threads_.size()));
  for (unsigned i = first; i < end && warp.waiting != 0; ++i) {
    if (threads_[i].state == State::at_warp_op) try_release_warp(thread.warp(), threads_[i].mask);
  }
  try_release_block();
}

// Back to the launch, for good: the stacks left behind are never resumed.
void Block::leave() {
  Fiber& from = *fiber_;
  fiber_ = &main_;
  Fiber::switch_to(from, main_);
  __builtin_unreachable();
}

// ---- what kernels call

int Block::wait_block(bool predicate, std::source_location where) {
  Thread& self = *running_;
  self.state = State::at_block_barrier;
  self.value = predicate;
  self.where = where;
  ++at_barrier_;
  if (try_release_block()) {
    take_turn();
  } else {
    pass_on();
  }
  return static_cast<int>(self.result);
}

std::uint64_t Block::wait_warp(WarpOp op, unsigned mask, std::uint64_t value, int source_lane,
                               std::source_location where) {
  Thread& self = *running_;
  self.op = op;
  self.mask = mask;
  self.value = value;
  self.source_lane = source_lane;
  self.where = where;
  if (!(mask >> self.lane() & 1)) {
    stop(self, std::string("calls ") + name_of(op) + " with a mask that leaves out its own lane");
  }
  self.state = State::at_warp_op;
  ++warps_[self.warp()].waiting;
  if (try_release_warp(self.warp(), mask)) {
    take_turn();
  } else {
    pass_on();
  }
  return self.result;
}

void* Block::shared_array(const void* identity, const char* name, std::size_t bytes, std::size_t alignment,
                          std::source_location where) {
  if (void* known = shared_.find(identity)) return known;
  const std::size_t total = shared_.allocated() + bytes;
  if (total - dynamic_bytes_ > SharedMemory::kStaticLimit)
    fail("needs more than 48 KiB of static shared memory", where);
  if (total > SharedMemory::kBlockLimit) fail("needs more than 227 KiB of shared memory", where);
  return shared_.allocate(identity, name, bytes, alignment);
}

void* Block::dynamic_shared(std::source_location where) {
  if (!dynamic_) fail("uses dynamic shared memory, but the launch asked for none", where);
  return dynamic_;
}

void Block::fail(const std::string& what, std::source_location where) {
  running_->where = where;
  stop(*running_, what);
}

std::string Block::running_thread() const {
  return running_ ? place() + ", thread " + text(running_->index) : std::string();
}

}  // namespace simt
