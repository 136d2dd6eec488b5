// SPDX-License-Identifier: Apache-2.0
// The C interface through which Python runs the kernels of this folder.
#include "planted/cases.h"

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "planted/primitives.h"
#include "planted/programs.h"
#include "planted/semantics.h"

namespace planted {
namespace {

std::map<std::string, Run>& cases() {
  static std::map<std::string, Run> all;
  return all;
}

// Runs one case and appends out and histogram to `results`, kThreads + kBins numbers.
void run(const std::string& name, bool bug, double* results) {
  struct alignas(16) Four {
    float values[4];
  };
  const std::unique_ptr<Four[]> in(new Four[kInputs / 4]);
  const std::unique_ptr<float[]> out(new float[kThreads]());
  const std::unique_ptr<int[]> bin(new int[kThreads]), histogram(new int[kBins]());
  const std::unique_ptr<unsigned> counter(new unsigned(0));
  for (int i = 0; i < kInputs; ++i) in[i / 4].values[i % 4] = static_cast<float>(i % 17);
  for (int i = 0; i < kThreads; ++i) bin[i] = i * 7 % kBins;
  const auto found = cases().find(name);
  if (found == cases().end()) throw std::invalid_argument("no planted bug is called " + name);
  found->second(bug, {in[0].values, bin.get(), out.get(), histogram.get(), counter.get()});
  std::copy_n(histogram.get(), kBins, std::copy_n(out.get(), kThreads, results));
}

// The error's text, or null: what a C interface can carry.
template <class Body>
const char* error_of(Body body) {
  thread_local std::string message;
  try {
    body();
    return nullptr;
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

}  // namespace

Case::Case(const char* name, Run run) { cases().emplace(name, run); }

}  // namespace planted

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED const char* planted_names() {  // one a line
  static const std::string names = [] {
    std::string lines;
    for (const auto& entry : planted::cases()) lines += entry.first + "\n";
    return lines;
  }();
  return names.c_str();
}

EXPORTED const char* planted_run(const char* name, int bug, double* results) {
  return planted::error_of([&] { planted::run(name, bug != 0, results); });
}

EXPORTED const char* semantics_run(const char* name, void* data, int argument) {
  return planted::error_of([&] { semantics::run(name, data, argument); });
}

EXPORTED const char* program_run(const programs::Step* steps, const programs::Shape* shape, unsigned char* memory) {
  return planted::error_of([&] { programs::run(steps, *shape, memory); });
}

EXPORTED void sort_32(const uint32_t* keys, uint32_t* sorted_keys, const int32_t* values, int32_t* sorted_values,
                      int64_t count, int descending, int key_bits) {
  primitives::sort(keys, sorted_keys, values, sorted_values, count, descending != 0, key_bits);
}

EXPORTED void sort_64(const uint64_t* keys, uint64_t* sorted_keys, const int64_t* values, int64_t* sorted_values,
                      int64_t count, int descending, int key_bits) {
  primitives::sort(keys, sorted_keys, values, sorted_values, count, descending != 0, key_bits);
}

EXPORTED void prefix_sums(const int64_t* in, int64_t* sums, int64_t count) { primitives::prefix_sums(in, sums, count); }

EXPORTED const char* block_sums(const double* in, double* out, int threads) {
  return planted::error_of([&] { primitives::block_sums(in, out, threads); });
}
