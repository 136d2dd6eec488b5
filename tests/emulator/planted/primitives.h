// SPDX-License-Identifier: Apache-2.0
// The device-wide and block-wide primitives of csrc/core, for their tests.
#pragma once

#include <cstdint>

namespace primitives {

template <class Key, class Value>
void sort(const Key* keys, Key* sorted_keys, const Value* values, Value* sorted_values, int64_t count, bool descending,
          int key_bits);
void prefix_sums(const int64_t* in, int64_t* sums, int64_t count);
void block_sums(const double* in, double* out, int threads);

}  // namespace primitives
