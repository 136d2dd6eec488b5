// SPDX-License-Identifier: Apache-2.0
// Stacks that CUDA threads run on, and the switch between them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace simt {

// A stack with a guard page below it, or (default constructed) the OS thread's own stack.
class Fiber {
 public:
  using Entry = void (*)();

  Fiber() = default;
  Fiber(Entry entry, std::size_t serial_number);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  const char* low() const { return low_; }
  const char* high() const { return low_ + size_; }

  // Leaves the running stack, which is `from`, and goes on where `to` was left. Returns when someone comes back.
  static void switch_to(Fiber& from, Fiber& to);
  // The first thing to do on a fresh stack.
  static void arrived(void* fake_stack = nullptr);

 private:
  void* stack_pointer_ = nullptr;
  char* low_ = nullptr;
  std::size_t size_ = 0;
  char* mapping_ = nullptr;
  std::size_t mapping_size_ = 0;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
};

// Fibers are kept from block to block: a stack is mapped once.
class FiberPool {
 public:
  explicit FiberPool(Fiber::Entry entry) : entry_(entry) {}
  Fiber& take();
  void give_back(Fiber& fiber) { idle_.push_back(&fiber); }
  void all_idle();  // at the start of a block: every fiber stands at its entry loop
  void clear();     // after an error: the stacks hold half-run threads that will never be resumed

 private:
  Fiber::Entry entry_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
};

}  // namespace simt
