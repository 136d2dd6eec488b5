// SPDX-License-Identifier: Apache-2.0
// CPU: every output a weighted sum of a few neighbouring inputs, a register of outputs at a time: resampling along a
// row, and its transpose. Inputs are picked out of registers, so that none is loaded by itself.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/integers.h"
#include "core/lane_shuffle_cpu.h"
#include "losses/gather_upsample_dice.h"

namespace ldie::losses {

template <typename A>
class LaneTaps {
 public:
  static constexpr int64_t kAtOnce = kLanes<A>;

  // Output i is the sum over k < taps of weight(i, k) * input[start(i) + k], in the order of k; starts rise.
  template <typename Start, typename Weight>
  LaneTaps(int64_t outputs, int64_t taps, const Start& start, const Weight& weight)
      : outputs_(outputs), taps_(taps), groups_(size_t(ceil_div(outputs, kAtOnce))), weights_(groups_.size() * taps) {
    int64_t reach = 0;
    for (size_t group = 0; group < groups_.size(); ++group) {
      const int64_t first = int64_t(group) * kAtOnce;
      groups_[group].base = start(first);
      for (int64_t lane = 0; lane < kAtOnce; ++lane) {
        const int64_t i = std::min(first + lane, outputs - 1), index = start(i) - start(first);
        groups_[group].index[lane] = LaneIndex<A>(index);
        reach = std::max(reach, index);
        for (int64_t k = 0; k < taps; ++k) weights_[group * taps + k].of_lane[lane] = weight(i, k);
      }
    }
    registers_ = reach / kAtOnce + 1;
  }

  // Elements that apply() reads behind the inputs, and writes behind the outputs. They have to be finite: their weight
  // is 0.
  int64_t padding() const { return taps_ + kShuffledRegisters * kAtOnce; }

  void apply(const A* input, A* output) const {
    if constexpr (kShuffledRegisters > 0) {
      switch (registers_) {
        case 1: return pick_all<1>(input, output);
        case 2: return pick_all<2>(input, output);
        case 3: return pick_all<3>(input, output);
        case 4: return pick_all<4>(input, output);
        default: break;
      }
    }
    for (int64_t i = 0; i < outputs_; ++i) output[i] = sum(input, i);
  }

 private:
  struct Group {
    int64_t base;
    LaneIndex<A> index[kAtOnce];
  };
  struct Weights {
    A of_lane[kAtOnce];
  };

  template <int kRegisters>
  void pick_all(const A* input, A* output) const {
    const Weights* weights = weights_.data();
    for (const Group& group : groups_) {
      const auto index = load_lanes(group.index);
      Lanes<A> sums{};
      for (int64_t k = 0; k < taps_; ++k, ++weights) {
        Lanes<A> row[kRegisters];
        for (int r = 0; r < kRegisters; ++r) row[r] = load_lanes(input + group.base + k + r * kAtOnce);
        sums += load_lanes(weights->of_lane) * pick<kRegisters, A>(row, index);
      }
      store_narrow<A>(output, sums);
      output += kAtOnce;
    }
  }

  A sum(const A* input, int64_t i) const {
    const size_t group = size_t(i / kAtOnce), lane = size_t(i % kAtOnce);
    const A* const from = input + groups_[group].base + groups_[group].index[lane];
    A sum = A(0);
    for (int64_t k = 0; k < taps_; ++k) sum += weights_[group * taps_ + k].of_lane[lane] * from[k];
    return sum;
  }

  int64_t outputs_, taps_, registers_;
  std::vector<Group> groups_;
  std::vector<Weights> weights_;
};

template <typename A>
std::vector<UpsampleTap<A>> sample_taps(const UpsampleAxis& axis) {
  std::vector<UpsampleTap<A>> taps(size_t(axis.out));
  for (int64_t sample = 0; sample < axis.out; ++sample) taps[size_t(sample)] = axis.tap<A>(sample);
  return taps;
}

template <typename A>
LaneTaps<A> upsampling_taps(const std::vector<UpsampleTap<A>>& taps) {
  return {int64_t(taps.size()), 2, [&](int64_t sample) { return taps[size_t(sample)].first; },
          [&](int64_t sample, int64_t k) { return k == 0 ? taps[size_t(sample)].low : taps[size_t(sample)].high; }};
}

// What of a gradient of the samples reaches each element.
template <typename A>
LaneTaps<A> transposed_taps(const UpsampleAxis& axis, const std::vector<UpsampleTap<A>>& taps) {
  std::vector<int64_t> first_sample(size_t(axis.in + 2));  // of elements -1 to in
  for (int64_t element = -1; element <= axis.in; ++element) {
    first_sample[size_t(element + 1)] = axis.first_sample(element);
  }
  int64_t most = 0;
  for (size_t i = 0; i < size_t(axis.in); ++i) most = std::max(most, first_sample[i + 2] - first_sample[i]);
  return {axis.in, most, [&](int64_t element) { return first_sample[size_t(element)]; },
          [&](int64_t element, int64_t k) {
            const int64_t sample = first_sample[size_t(element)] + k;
            return sample < axis.out ? taps[size_t(sample)].share(element) : A(0);
          }};
}

}  // namespace ldie::losses
