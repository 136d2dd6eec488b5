// SPDX-License-Identifier: Apache-2.0
// A random sample of each image's positive and negative candidates. Every candidate draws a random word from Philox,
// keyed by the image's seed; those with the smallest words are taken, of equal words the lower index. So the sample is
// uniform, without replacement, and a function of seeds and matches alone.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/hd.h"
#include "core/philox.h"

namespace ldie::boxes {

struct SampleLabels {
  const int64_t* matches;              // [batch, count] >= 0 positive, -1 negative, below ignored
  const int64_t* seeds;                // [batch]
  int64_t batch, count;                // count: below 2^32
  int64_t num_samples, max_positives;  // the latter at most the former
  int64_t* index;                      // [batch, num_samples]: positives, then negatives, both rising, then -1
  uint8_t* positive;                   // [batch, num_samples]
  int64_t* counts;                     // [batch, 2]: positives and negatives taken
};

void sample_labels(const SampleLabels& args, Context& context);

// ---- which candidate draws what: word w of counter 32 g + lane goes to candidate 128 g + 32 w + lane. So 32 counters
// side by side, in a warp or in vector registers, serve runs of 32 candidates.
constexpr int kDrawLanes = 32;
constexpr int kDrawGroup = 4 * kDrawLanes;  // candidates

LDIE_HD RandomWords draw(int64_t seed, int64_t group, int lane) {
  return philox(uint64_t(group) * kDrawLanes + uint64_t(lane), uint64_t(seed));
}

// What candidates are taken by: the word, then the index.
LDIE_HD uint64_t draw_order(uint32_t word, int64_t candidate) { return uint64_t(word) << 32 | uint64_t(candidate); }

LDIE_HD bool is_positive(int64_t match) { return match >= 0; }
LDIE_HD bool is_negative(int64_t match) { return match == -1; }

LDIE_HD int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

}  // namespace ldie::boxes
