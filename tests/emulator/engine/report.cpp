// SPDX-License-Identifier: Apache-2.0
#include "engine/report.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "engine/collective.h"

namespace simt {
namespace {

std::string triple(unsigned x, unsigned y, unsigned z) {
  return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
}

std::string situation(const Thread& thread) {
  switch (thread.state) {
    case State::fresh: return "not started";
    case State::ready:
    case State::running: return "running";
    case State::exited: return "left the kernel";
    case State::at_block_barrier: return "in __syncthreads at " + text(thread.where);
    case State::at_warp_op: break;
  }
  char mask[16];
  std::snprintf(mask, sizeof mask, "0x%08x", thread.mask);
  return "in " + std::string(name_of(thread.op)) + " with mask " + mask + " at " + text(thread.where);
}

}  // namespace

std::string text(uint3 index) { return triple(index.x, index.y, index.z); }
std::string text(dim3 extent) { return triple(extent.x, extent.y, extent.z); }
std::string text(const std::source_location& where) {
  return std::string(where.file_name()) + ":" + std::to_string(where.line());
}

std::string describe_waiting(std::span<const Thread> threads) {
  struct Group {
    std::string situation;
    const Thread* first;
    unsigned count;
  };
  std::vector<Group> groups;
  for (const Thread& thread : threads) {
    const std::string here = situation(thread);
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.situation == here; });
    if (group == groups.end()) {
      groups.push_back({here, &thread, 1});
    } else {
      ++group->count;
    }
  }
  std::string lines;
  for (const Group& group : groups) {
    lines += "\n    " + std::to_string(group.count) + (group.count == 1 ? " thread, " : " threads, first ") +
             text(group.first->index) + ": " + group.situation;
  }
  return lines;
}

}  // namespace simt
