// SPDX-License-Identifier: Apache-2.0
// When waiting threads may go on, and what is wrong when they never may.
#include <algorithm>
#include <cstring>

#include "engine/block.h"
#include "engine/collective.h"
#include "engine/report.h"
#include "race/hooks.h"

namespace simt {
namespace {
bool same_place(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}
}  // namespace

bool Block::try_release_block() {
  if (at_barrier_ == 0 || at_barrier_ != live_) return false;
  if (live_ != threads_.size())
    stop("some threads left the kernel without reaching a __syncthreads that others wait at");
  const Thread& first = threads_.front();
  std::uint64_t count = 0;
  for (const Thread& thread : threads_) {
    if (!same_place(thread.where, first.where)) stop("threads wait at different __syncthreads");
    count += thread.value;
  }
  at_barrier_ = 0;
  race::block_barrier();
  released_.clear();
  for (const unsigned i : order_) {
    threads_[i].result = count;
    released_.push_back(&threads_[i]);
  }
  make_ready();
  return true;
}

bool Block::try_release_warp(unsigned warp, unsigned mask) {
  if (mask == ~0u && warps_[warp].waiting != warps_[warp].live) return false;  // the usual case, decided cheaply
  const unsigned base = warp * kWarpSize, count = std::min(kWarpSize, static_cast<unsigned>(threads_.size()) - base);
  Thread* lanes[kWarpSize] = {};
  unsigned taking_part = 0;
  bool some_left = false;
  for (unsigned lane = 0; lane < count; ++lane) {  // a mask may name lanes that the block never had
    if (!(mask >> lane & 1)) continue;
    Thread& thread = threads_[base + lane];
    if (thread.state == State::exited) {
      some_left = true;
    } else if (thread.state != State::at_warp_op || thread.mask != mask) {
      return false;
    } else {
      lanes[lane] = &thread;
      taking_part |= 1u << lane;
    }
  }
  if (some_left) stop("a warp function names lanes in its mask that have left the kernel");
  const Thread& first = *lanes[__builtin_ctz(taking_part)];
  released_.clear();
  for (Thread* thread : lanes) {
    if (!thread) continue;
    if (thread->op != first.op) stop("lanes of one warp wait in different warp functions");
    released_.push_back(thread);
  }
  if (const Thread* reader = evaluate(lanes)) {
    stop(*reader, "reads lane " + std::to_string(reader->source_lane) +
                      " in a shuffle, but that lane does not take part: it is not in the mask or not in the block");
  }
  if (first.op == WarpOp::syncwarp) race::warp_barrier(warp, taking_part);
  warps_[warp].waiting -= static_cast<unsigned>(released_.size());
  schedule_.arrange(released_.data(), released_.size());
  make_ready();
  return true;
}

void Block::make_ready() {
  for (Thread* thread : released_) {
    thread->state = State::ready;
    ready_.push_back(thread);
  }
}

// ---- errors

std::string Block::place() const { return "kernel " + kernel_->name + ", block " + text(block_index_); }

void Block::stop(const char* what) {
  error_ = place() + ": " + what + describe_waiting(threads_);
  leave();
}

void Block::stop(const Thread& thread, const std::string& what) {
  error_ = place() + ", thread " + text(thread.index) + " " + what + " at " + text(thread.where);
  leave();
}

}  // namespace simt
