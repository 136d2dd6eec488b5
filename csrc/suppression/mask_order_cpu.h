// SPDX-License-Identifier: Apache-2.0
// Ranks of scored masks on the CPU.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "suppression/mask_order.h"

namespace ldie::suppression {

// Rows by rank. There are few masks; sorting them is nothing beside reading them.
template <typename T>
std::vector<size_t> rows_by_score(const T* scores, int64_t count) {
  std::vector<size_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), size_t(0));
  const auto key = [&](size_t row) { return score_key(acc_t<T>(scores[row])); };
  std::stable_sort(rows.begin(), rows.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  return rows;
}

}  // namespace ldie::suppression
