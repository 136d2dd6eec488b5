// SPDX-License-Identifier: Apache-2.0
#include "engine/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "engine/asan.h"

#if !defined(__x86_64__)
#error "the stack switch of the SIMT emulator is written for x86-64"
#endif

namespace simt {
namespace {

constexpr std::size_t kStackBytes = asan::kEnabled ? 512 * 1024 : 128 * 1024;

// Pushes the registers that a call must preserve, changes the stack, pops them again.
__attribute__((naked, noinline)) void switch_stack(void** /*save*/, void* /*load*/) {
  asm volatile(
      "pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
      "movq %rsp, (%rdi)\n\tmovq %rsi, %rsp\n\t"
      "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret");
}
constexpr int kSavedRegisters = 6;

Fiber* left_behind;  // the fiber that made the last switch

}  // namespace

Fiber::Fiber(Entry entry, std::size_t serial_number) : size_(kStackBytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  mapping_size_ = size_ + page;
  void* mapping =
      mmap(nullptr, mapping_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<char*>(mapping);
  mprotect(mapping_, page, PROT_NONE);  // running off the stack faults
  low_ = mapping_ + page;
  // Equally aligned stacks would fight over the same cache sets.
  const std::size_t shift = serial_number % 32 * 128;
  void** top = reinterpret_cast<void**>(low_ + size_ - shift);
  *--top = nullptr;                         // where entry would return to: it never does
  *--top = reinterpret_cast<void*>(entry);  // popped by the first switch's ret
  for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
  stack_pointer_ = top;
}

Fiber::~Fiber() {
  if (!mapping_) return;
  asan::unpoison(low_, size_);
  munmap(mapping_, mapping_size_);
}

void Fiber::switch_to(Fiber& from, Fiber& to) {
  left_behind = &from;
  asan::leave_stack(&from.fake_stack_, to.low_, to.size_);
  switch_stack(&from.stack_pointer_, to.stack_pointer_);
  arrived(from.fake_stack_);
}

void Fiber::arrived(void* fake_stack) {
  const void* low = nullptr;
  std::size_t size = 0;
  asan::enter_stack(fake_stack, &low, &size);
  if (left_behind->mapping_) return;
  left_behind->low_ = static_cast<char*>(const_cast<void*>(low));  // the OS thread's stack: only now known
  left_behind->size_ = size;
}

Fiber& FiberPool::take() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>(entry_, fibers_.size()));
    return *fibers_.back();
  }
  Fiber& fiber = *idle_.back();
  idle_.pop_back();
  return fiber;
}

void FiberPool::all_idle() {
  idle_.clear();
  for (const auto& fiber : fibers_) idle_.push_back(fiber.get());
}

void FiberPool::clear() {
  idle_.clear();
  fibers_.clear();
}

}  // namespace simt
