// SPDX-License-Identifier: Apache-2.0
#include "race/ordering.h"

#include <algorithm>

namespace simt::race {

void Ordering::launch_begins() { logs_.clear(); }

void Ordering::block_begins(std::uint32_t block, unsigned threads) {
  block_ = block;
  threads_ = threads;
  barrier_ = 0;
  std::fill_n(clock_.begin(), threads, 1);
  std::fill_n(seen_.begin(), threads, LaneClocks{});
  fenced_.assign(threads, Fenced{});
  fence_since_barrier_ = false;
  fences_before_barrier_.reset();
  acquires_.clear();
}

void Ordering::block_barrier() {
  if (fence_since_barrier_) {
    auto fences = std::make_shared<Fences>(threads_);
    std::transform(fenced_.begin(), fenced_.end(), fences->begin(), [](const Fenced& f) { return f.when; });
    fences_before_barrier_ = std::move(fences);
    fence_since_barrier_ = false;
  }
  ++barrier_;
  std::fill_n(clock_.begin(), threads_, 1);
  std::fill_n(seen_.begin(), threads_, LaneClocks{});
}

void Ordering::warp_barrier(unsigned warp, unsigned lanes) {
  const unsigned first = warp * kWarpSize;
  LaneClocks joined{};
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    seen_[first + lane][lane] = clock_[first + lane]++;
    for (unsigned k = 0; k < kWarpSize; ++k) joined[k] = std::max(joined[k], seen_[first + lane][k]);
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (lanes >> lane & 1) seen_[first + lane] = joined;
  }
}

void Ordering::fence(unsigned thread) {
  Fenced& fenced = fenced_[thread];
  fenced.any = true;
  fenced.when = now(thread);
  fenced.lanes = seen_[thread];
  fenced.lanes[thread % kWarpSize] = clock_[thread]++;
  fence_since_barrier_ = true;
}

Moment Ordering::atomic(unsigned thread, std::uintptr_t word, bool load, bool store) {
  if (const auto known = logs_.find(word); load && known != logs_.end()) acquire(thread, known->second);
  if (!store) return now(thread);
  const Fenced& fenced = fenced_[thread];
  if (fenced.any || fences_before_barrier_) release(thread, logs_[word]);
  return fenced.any ? fenced.when : now(thread);
}

void Ordering::acquire(unsigned thread, const Log& log) {
  if (!acquires_.empty()) {  // a loop of atomics on one word learns nothing new
    const Acquire& last = acquires_.back();
    if (last.thread == thread && last.when == now(thread) && last.log == &log && last.length == log.size()) return;
  }
  acquires_.push_back({static_cast<std::uint16_t>(thread), now(thread), &log, log.size()});
}

void Ordering::release(unsigned thread, Log& log) {
  const Fenced& fenced = fenced_[thread];
  if (!log.empty()) {
    const Release& last = log.back();
    if (last.block == block_ && last.thread == thread && last.barrier == fenced.when.barrier &&
        last.lanes == fenced.lanes && last.of_others == fences_before_barrier_) {
      return;
    }
  }
  log.push_back(
      {block_, static_cast<std::uint16_t>(thread), fenced.when.barrier, fenced.lanes, fences_before_barrier_});
}

bool Ordering::before(std::uint32_t block, unsigned thread, Moment when, unsigned self) const {
  if (block == block_ && before_in_block(thread, when, self)) return true;
  return std::any_of(acquires_.begin(), acquires_.end(), [&](const Acquire& acquire) {
    if (!before_in_block(acquire.thread, acquire.when, self)) return false;
    const auto end = acquire.log->begin() + static_cast<std::ptrdiff_t>(acquire.length);
    auto release = std::lower_bound(acquire.log->begin(), end, block,
                                    [](const Release& r, std::uint32_t wanted) { return r.block < wanted; });
    for (; release != end && release->block == block; ++release) {
      if (release->covers(block, thread, when)) return true;
    }
    return false;
  });
}

bool Ordering::before_in_block(unsigned thread, Moment when, unsigned self) const {
  if (thread == self || when.barrier != barrier_) return true;
  return thread / kWarpSize == self / kWarpSize && seen_[self][thread % kWarpSize] >= when.clock;
}

bool Ordering::Release::covers(std::uint32_t of_block, unsigned of_thread, Moment when) const {
  if (of_block != block) return false;
  if (when.barrier < barrier) return true;
  if (when.barrier == barrier && of_thread / kWarpSize == thread / kWarpSize &&
      when.clock <= lanes[of_thread % kWarpSize]) {
    return true;
  }
  return of_others && when <= (*of_others)[of_thread];
}

}  // namespace simt::race
