// SPDX-License-Identifier: Apache-2.0
// The race checker's words.
#include "engine/report.h"

#include <cstdio>

#include "race/checker.h"
#include "race/source_line.h"

namespace simt::race {
namespace {
constexpr std::size_t kReportsPerLaunch = 20;
}

bool Checker::worth_reporting(std::int32_t first, std::int32_t second) {
  return reported_.size() < kReportsPerLaunch && reported_.insert({first, second}).second;
}

void Checker::report_race(const Access& earlier, const Access& now, std::uintptr_t address) {
  if (!worth_reporting(earlier.program_counter, now.program_counter)) return;
  start_report("data race on " + name_of_place(address));
  report_ += "\n    " + name_of(now) + "\n    " + name_of(earlier);
}

void Checker::report_misuse(const Access& now, const std::string& what) {
  if (!worth_reporting(now.program_counter, now.program_counter)) return;
  start_report(what);
  report_ += "\n    " + name_of(now);
}

void Checker::start_report(const std::string& what) {
  if (!report_.empty()) report_ += "\n";
  report_ += "kernel " + kernel_ + ", block " + text(block_indices_.back()) + ": " + what;
}

std::string Checker::name_of(const Access& access) const {
  const unsigned x = access.thread % block_size_.x, y = access.thread / block_size_.x % block_size_.y;
  const unsigned z = access.thread / block_size_.x / block_size_.y;
  std::string name = access.kind & kAtomic ? "atomic " : "";
  name += access.kind & kWrite ? "write by thread " : "read by thread ";
  name += text(uint3{x, y, z});
  if (access.block != block_) name += " of block " + text(block_indices_[access.block - first_block_]);
  return name + " at " + source_line(access.program_counter);
}

std::string Checker::name_of_place(std::uintptr_t address) const {
  if (!shared_.holds(address)) {
    char text[32];
    std::snprintf(text, sizeof text, "global memory %#zx", address);
    return text;
  }
  for (const Array& array : arrays_) {
    if (array.bytes.holds(address)) {
      return std::string("shared '") + array.name + "' byte " + std::to_string(address - array.bytes.low);
    }
  }
  return "shared memory";
}

}  // namespace simt::race
