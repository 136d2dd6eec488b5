// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "boxes/sample_labels.h"
#include "boxes/smallest_cpu.h"
#include "core/parallel_cpu.h"

namespace ldie::boxes {
namespace {

constexpr int64_t kTileGroups = 16;
constexpr int64_t kTileCandidates = kTileGroups * kDrawGroup;

void draw_tile(int64_t seed, int64_t first_group, uint32_t* words) {
  for (int64_t group = 0; group < kTileGroups; ++group) {
    uint32_t* const out = words + group * kDrawGroup;
    for (int lane = 0; lane < kDrawLanes; ++lane) {
      const RandomWords drawn = draw(seed, first_group + group, lane);
      for (int w = 0; w < 4; ++w) out[w * kDrawLanes + lane] = drawn.word[w];
    }
  }
}

// Writes the candidates of one kind by rising index and returns how many there are.
int64_t write_taken(const std::vector<uint64_t>& taken, bool positive, int64_t* index, uint8_t* flags) {
  const int64_t count = int64_t(taken.size());
  for (int64_t i = 0; i < count; ++i) index[i] = int64_t(uint32_t(taken[size_t(i)]));
  std::sort(index, index + count);
  std::fill_n(flags, count, uint8_t(positive));
  return count;
}

// Floor: 8 bytes read a candidate, and a quarter of a Philox block, about 20 operations.
void sample_image(const SampleLabels& args, int64_t image) {
  const int64_t* const matches = args.matches + image * args.count;
  Smallest<uint64_t> positives(args.max_positives), negatives(args.num_samples);
  uint32_t words[kTileCandidates];
  for (int64_t first = 0; first < args.count; first += kTileCandidates) {
    draw_tile(args.seeds[image], first / kDrawGroup, words);
    const int64_t count = least(args.count - first, kTileCandidates);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t match = matches[first + i];
      const uint64_t order = draw_order(words[i], first + i);
      if (is_positive(match)) {
        positives.offer(order);
      } else if (is_negative(match)) {
        negatives.offer(order);
      }
    }
  }

  int64_t* const index = args.index + image * args.num_samples;
  uint8_t* const flags = args.positive + image * args.num_samples;
  const int64_t taken = write_taken(positives.take(args.max_positives), true, index, flags);
  const int64_t others = write_taken(negatives.take(args.num_samples - taken), false, index + taken, flags + taken);
  std::fill(index + taken + others, index + args.num_samples, int64_t(-1));
  std::fill(flags + taken + others, flags + args.num_samples, uint8_t(0));
  args.counts[2 * image] = taken;
  args.counts[2 * image + 1] = others;
}

}  // namespace

void sample_labels(const SampleLabels& args, Context&) {
  parallel_for(args.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) sample_image(args, image);
  });
}

}  // namespace ldie::boxes
