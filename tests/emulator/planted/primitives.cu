// SPDX-License-Identifier: Apache-2.0
// csrc/core/device_sort.cuh and csrc/core/reduce.cuh, called on host arrays.
#include <vector>

#include "core/device_sort.cuh"
#include "core/reduce.cuh"
#include "planted/primitives.h"

namespace primitives {
namespace {

class HostContext final : public ldie::Context {
 public:
  HostContext() : Context(nullptr) {}
  void* scratch(size_t bytes) override {
    buffers_.emplace_back(bytes + 1);
    return buffers_.back().data();
  }

 private:
  std::vector<std::vector<char>> buffers_;
};

template <int kThreads>
__global__ void sums(const double* in, double* out) {
  const double value = in[blockIdx.x * kThreads + threadIdx.x];
  const double sum = ldie::block_sum<kThreads>(value);
  const double maximum = ldie::block_reduce<kThreads>(value, -1e300, ldie::Maximum());
  const double minimum = ldie::block_reduce<kThreads>(value, 1e300, ldie::Minimum());
  out[blockIdx.x * kThreads + threadIdx.x] = sum + 1e3 * maximum + 1e6 * minimum;
}

}  // namespace

template <class Key, class Value>
void sort(const Key* keys, Key* sorted_keys, const Value* values, Value* sorted_values, int64_t count, bool descending,
          int key_bits) {
  HostContext context;
  const ldie::KeyValueArrays<Key, Value> arrays{keys, sorted_keys, values, sorted_values, count};
  if (descending) {
    ldie::sort_pairs<ldie::SortOrder::descending>(context, arrays, key_bits);
  } else {
    ldie::sort_pairs<ldie::SortOrder::ascending>(context, arrays, key_bits);
  }
}
template void sort(const uint32_t*, uint32_t*, const int32_t*, int32_t*, int64_t, bool, int);
template void sort(const uint64_t*, uint64_t*, const int64_t*, int64_t*, int64_t, bool, int);

void prefix_sums(const int64_t* in, int64_t* sums, int64_t count) {
  HostContext context;
  ldie::inclusive_sum(context, in, sums, count);
}

void block_sums(const double* in, double* out, int threads) {
  if (threads == 32) LDIE_LAUNCH(sums<32>, 2, 32, 0, nullptr, in, out);
  if (threads == 256) LDIE_LAUNCH(sums<256>, 2, 256, 0, nullptr, in, out);
  if (threads == 1024) LDIE_LAUNCH(sums<1024>, 2, 1024, 0, nullptr, in, out);
}

}  // namespace primitives
