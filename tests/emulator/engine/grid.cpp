// SPDX-License-Identifier: Apache-2.0
// Launches, and the calls of kernels handed to the block that runs.
#include <atomic>
#include <mutex>
#include <numeric>
#include <stdexcept>

#include "engine/block.h"
#include "engine/report.h"
#include "race/hooks.h"

namespace simt {
namespace {

std::uint64_t volume(dim3 d) { return std::uint64_t{d.x} * d.y * d.z; }

void check_configuration(const Kernel& kernel, dim3 grid, dim3 block, std::size_t shared_bytes) {
  constexpr unsigned kMaxGridX = 0x7fffffff, kMaxGridYZ = 65535, kMaxBlockZ = 64;
  const char* problem = nullptr;
  if (volume(grid) == 0) problem = "the grid has no blocks";
  if (volume(block) == 0) problem = "the block has no threads";
  if (volume(block) > kMaxThreads) problem = "a block has at most 1024 threads";
  if (block.z > kMaxBlockZ) problem = "a block is at most 64 deep";
  if (grid.x > kMaxGridX || grid.y > kMaxGridYZ || grid.z > kMaxGridYZ) {
    problem = "a grid is at most (2147483647,65535,65535)";
  }
  if (shared_bytes > SharedMemory::kBlockLimit) problem = "a block has at most 227 KiB of shared memory";
  if (!problem) return;
  throw std::runtime_error("launch of " + kernel.name + " failed: invalid configuration: " + problem + "; grid " +
                           text(grid) + ", block " + text(block) + ", " + std::to_string(shared_bytes) +
                           " bytes of dynamic shared memory");
}

// The serial numbers of the blocks in the order they run.
class BlockOrder {
 public:
  BlockOrder(std::uint64_t count, Schedule& schedule) : count_(count), reverse_(schedule.reverse()) {
    if (!schedule.random()) return;
    shuffled_.resize(count);
    std::iota(shuffled_.begin(), shuffled_.end(), 0);
    schedule.reseed(count);
    schedule.arrange(shuffled_.data(), count);
  }
  std::uint64_t operator[](std::uint64_t i) const {
    if (!shuffled_.empty()) return shuffled_[i];
    return reverse_ ? count_ - 1 - i : i;
  }

 private:
  std::uint64_t count_;
  bool reverse_;
  std::vector<std::uint32_t> shuffled_;
};

std::atomic<std::uint64_t> launches{0};

thread_local bool in_kernel = false;
struct InKernel {
  InKernel() { in_kernel = true; }
  ~InKernel() { in_kernel = false; }
};

}  // namespace

void run_grid(const Kernel& kernel, dim3 grid, dim3 block_size, std::size_t shared_bytes) {
  static std::mutex one_launch_at_a_time;
  check_configuration(kernel, grid, block_size, shared_bytes);
  if (in_kernel) Block::instance().fail("launches a kernel", std::source_location::current());
  ++launches;
  const std::lock_guard lock(one_launch_at_a_time);
  const InKernel marker;
  Schedule schedule = Schedule::from_environment();
  Block& block = Block::instance();
  block.begin_launch(kernel, block_size, shared_bytes, schedule);
  race::launch_begins(kernel.name, block_size);
  current.grid_size = grid;
  const std::uint64_t count = volume(grid);
  const BlockOrder order(count, schedule);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t serial = order[i];
    const auto x = static_cast<unsigned>(serial % grid.x), y = static_cast<unsigned>(serial / grid.x % grid.y);
    const auto z = static_cast<unsigned>(serial / grid.x / grid.y);
    block.run({x, y, z}, serial);
  }
}

int wait_block(bool predicate, std::source_location where) { return Block::instance().wait_block(predicate, where); }
std::uint64_t wait_warp(WarpOp op, unsigned mask, std::uint64_t value, int source_lane, std::source_location where) {
  return Block::instance().wait_warp(op, mask, value, source_lane, where);
}
void* shared_array(const void* identity, const char* name, std::size_t bytes, std::size_t alignment,
                   std::source_location where) {
  return Block::instance().shared_array(identity, name, bytes, alignment, where);
}
void* dynamic_shared(std::source_location where) { return Block::instance().dynamic_shared(where); }
void fail(const char* what, std::source_location where) { Block::instance().fail(what, where); }

}  // namespace simt

// For tests, through ctypes: launches of this process so far.
extern "C" __attribute__((visibility("default"))) std::uint64_t simt_launches() { return simt::launches; }
