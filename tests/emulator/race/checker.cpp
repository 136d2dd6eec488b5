// SPDX-License-Identifier: Apache-2.0
#include "race/checker.h"

#include <algorithm>
#include <stdexcept>

#include "race/hooks.h"
#include "race/source_line.h"

namespace simt::race {

Checker& Checker::instance() {
  static Checker checker;
  return checker;
}

void Checker::launch_begins(const std::string& kernel, dim3 block_size) {
  kernel_ = kernel;
  block_size_ = block_size;
  first_block_ = block_ + 1;
  block_indices_.clear();
  reported_.clear();
  ordering_.launch_begins();
  shadow_.trim();
}

void Checker::block_begins(uint3 block, Range shared) {
  ++block_;
  block_indices_.push_back(block);
  shared_ = shared;
  shared_words_.resize((shared.high - shared.low) / kWordBytes);
  arrays_.clear();
  report_.clear();
  ordering_.block_begins(block_, block_size_.x * block_size_.y * block_size_.z);
}

std::string Checker::block_ends() {
  active_ = false;
  return std::exchange(report_, {});
}

void Checker::shared_array(const char* name, Range bytes) {
  arrays_.push_back({name, bytes});
  for (std::uintptr_t word = bytes.low; word < bytes.high; word += kWordBytes) {  // arrays start at whole words
    const auto used = std::min<std::uintptr_t>(kWordBytes, bytes.high - word);
    shared_words_[(word - shared_.low) / kWordBytes] = {block_, static_cast<std::uint8_t>((1u << used) - 1), 0};
  }
}

void Checker::thread_runs(unsigned thread, Range stack) {
  active_ = true;
  self_ = thread;
  stack_ = stack;
}

void Checker::check(std::uintptr_t address, std::size_t bytes, std::uint8_t kind, const void* program_counter) {
  static const Range built_in_variables = range(&current, &current + 1);
  if (stack_.holds(address) || built_in_variables.holds(address)) return;
  const bool shared = shared_.holds(address);
  const std::uintptr_t end = address + bytes;
  while (address < end) {
    const std::uintptr_t word = address / kWordBytes * kWordBytes, stop = std::min(word + kWordBytes, end);
    Moment when = ordering_.now(self_);
    if (kind & kAtomic) when = ordering_.atomic(self_, word, kind & kRead, kind & kWrite);
    Access now{};
    now.block = block_;
    now.program_counter = relative(program_counter);
    now.thread = static_cast<std::uint16_t>(self_);
    now.barrier = when.barrier;
    now.clock = when.clock;
    now.bytes = static_cast<std::uint8_t>(((1u << (stop - address)) - 1) << (address - word));
    now.kind = kind;
    if (shared) check_shared(now, address);
    check_word(now, address, shared);
    address = stop;
  }
}

void Checker::check_shared(const Access& now, std::uintptr_t address) {
  SharedWord& word = shared_words_[(address - shared_.low) / kWordBytes];
  if (word.block != block_) word = {block_, 0, 0};
  if ((word.allocated & now.bytes) != now.bytes) {
    report_misuse(now, "access to shared memory outside every array");
  } else if ((now.kind & kRead) && (word.written & now.bytes) != now.bytes) {
    report_misuse(now, "read of " + name_of_place(address) + ", which this block never wrote");
  }
  if (now.kind & kWrite) word.written |= now.bytes;
}

void Checker::check_word(const Access& now, std::uintptr_t address, bool shared) {
  Access* least_useful = nullptr;
  int most_dispensable = -1;
  for (Access& slot : shadow_[address].slots) {
    if (stale(slot, shared)) slot.kind = 0;
    if (slot.kind && slot.conflicts_with(now) &&
        !ordering_.before(slot.block, slot.thread, {slot.barrier, slot.clock}, self_)) {
      report_race(slot, now, address);
    }
    const int rank = dispensability(slot, now);
    if (rank > most_dispensable) {
      most_dispensable = rank;
      least_useful = &slot;
    }
  }
  constexpr int kNeeded = 1;
  if (now.kind == kRead && most_dispensable <= kNeeded) return;  // a read pushes out nothing better
  *least_useful = now;
}

bool Checker::stale(const Access& access, bool shared) const {
  return access.block < first_block_ || (shared && access.block != block_);
}

// Which remembered access to forget for `now`: the higher, the sooner.
int Checker::dispensability(const Access& access, const Access& now) const {
  if (!access.kind) return 9;
  const bool same_block = access.block == now.block;
  if (same_block && access.thread == now.thread && now.subsumes(access)) return 8;
  if (same_block && access.barrier != now.barrier) return access.reads_only() ? 7 : 4;  // only other blocks can race
  if (now.kind == kRead && access.kind == kRead && access.bytes == now.bytes) return same_block ? 5 : 3;
  return access.reads_only() ? 1 : 0;
}

// ---- what the engine tells

void launch_begins(const std::string& kernel, dim3 block_size) {
  Checker::instance().launch_begins(kernel, block_size);
}
void block_begins(uint3 block, const void* shared_low, const void* shared_high) {
  Checker::instance().block_begins(block, range(shared_low, shared_high));
}
void block_ends() {
  if (const std::string report = Checker::instance().block_ends(); !report.empty()) throw std::runtime_error(report);
}
void block_abandoned() { Checker::instance().block_ends(); }
void shared_array(const char* name, const void* data, std::size_t bytes) {
  Checker::instance().shared_array(name, range(data, static_cast<const char*>(data) + bytes));
}
void thread_runs(unsigned thread, const void* stack_low, const void* stack_high) {
  Checker::instance().thread_runs(thread, range(stack_low, stack_high));
}
void block_barrier() { Checker::instance().block_barrier(); }
void warp_barrier(unsigned warp, unsigned lanes) { Checker::instance().warp_barrier(warp, lanes); }

}  // namespace simt::race

namespace simt {
void note_fence() { race::Checker::instance().fence(); }
void note_atomic(const void* address, std::size_t bytes, const void* program_counter) {
  race::Checker::instance().access(address, bytes, race::kRead | race::kWrite | race::kAtomic, program_counter);
}
}  // namespace simt
