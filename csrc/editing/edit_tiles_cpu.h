// SPDX-License-Identifier: Apache-2.0
// CPU: runs of pointwise steps on tiles of pixels that stay in the first-level cache, channel beside channel.
#pragma once

#include <cstring>

#include "core/integers.h"
#include "editing/apply_edits.h"
#include "editing/lane_value_cpu.h"

namespace ldie::editing {

constexpr int64_t kTilePixels = 256;

// As many pixels as the image has left fill a tile up to a whole register, the rest of it being black.
template <typename A>
struct PixelTile {
  alignas(kLaneBytes) A channels[3][kTilePixels];

  inline __attribute__((always_inline)) Pixel<Lanes<A>> at(int64_t i) const {
    return {load_lanes(channels[0] + i), load_lanes(channels[1] + i), load_lanes(channels[2] + i)};
  }
  inline __attribute__((always_inline)) void put(int64_t i, const Pixel<Lanes<A>>& pixel) {
    std::memcpy(channels[0] + i, &pixel.r, sizeof pixel.r);
    std::memcpy(channels[1] + i, &pixel.g, sizeof pixel.g);
    std::memcpy(channels[2] + i, &pixel.b, sizeof pixel.b);
  }
};

template <typename T>
void load_tile(const T* sample, const PixelStrides& strides, int64_t begin, int64_t count, PixelTile<acc_t<T>>& tile) {
  for (int64_t c = 0; c < 3; ++c) {
    acc_t<T>* const channel = tile.channels[c];
    const T* const elements = sample + c * strides.channel + begin * strides.pixel;
    if (strides.pixel == 1) {
      for (int64_t i = 0; i < count; ++i) channel[i] = to_number(elements[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) channel[i] = to_number(elements[3 * i]);
    }
    for (int64_t i = count; i < round_up(count, kLanes<acc_t<T>>); ++i) channel[i] = 0;
  }
}

template <typename T>
void store_tile(const PixelTile<acc_t<T>>& tile, const PixelStrides& strides, int64_t begin, int64_t count, T* sample) {
  for (int64_t c = 0; c < 3; ++c) {
    const acc_t<T>* const channel = tile.channels[c];
    T* const elements = sample + c * strides.channel + begin * strides.pixel;
    if (strides.pixel == 1) {
      for (int64_t i = 0; i < count; ++i) elements[i] = to_element<T>(channel[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) elements[3 * i] = to_element<T>(channel[i]);
    }
  }
}

// Where a tile lies: pixels begin .. begin + count of a sample of this many.
struct TilePlace {
  int64_t pixels, begin, count;
};

template <typename A>
void load_mask(const EditSequences<A>& sequences, const EditStep<A>& step, const TilePlace& place, A* mask) {
  for (int64_t i = 0; i < place.count; ++i) mask[i] = mask_value(sequences, step, place.pixels, place.begin + i);
  for (int64_t i = place.count; i < round_up(place.count, kLanes<A>); ++i) mask[i] = 0;
}

// `after` may be `before`.
template <typename A>
void apply_step(const EditSequences<A>& sequences, const EditStep<A>& step, const TilePlace& place,
                const PixelTile<A>& before, PixelTile<A>& after) {
  alignas(kLaneBytes) A mask[kTilePixels];
  const bool masked = step.mask != kWholeImage;
  if (masked) load_mask(sequences, step, place, mask);
  with_operator<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    if (masked) {
      for (int64_t i = 0; i < place.count; i += kLanes<A>) {
        after.put(i, edit_masked(op, before.at(i), load_lanes(mask + i)));
      }
    } else {
      for (int64_t i = 0; i < place.count; i += kLanes<A>) after.put(i, edit(op, before.at(i)));
    }
  });
}

// Takes the gradient of what the step made of `before` to that of `before`, and adds to the step's sums.
template <typename A>
void apply_step_backward(const EditSequences<A>& sequences, const EditStep<A>& step, const TilePlace& place,
                         const PixelTile<A>& before, PixelTile<A>& grad, Lanes<A>* sums_of_step) {
  alignas(kLaneBytes) A mask[kTilePixels];
  const bool masked = step.mask != kWholeImage;
  if (masked) load_mask(sequences, step, place, mask);
  with_operator<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    Lanes<A> values[Operator::kSums + 1];  // of their own, so that the compiler sees that nothing else is written
    std::memcpy(values, sums_of_step, Operator::kSums * sizeof(Lanes<A>));
    const LaneSums<A> sums{values};
    if (masked) {
      for (int64_t i = 0; i < place.count; i += kLanes<A>) {
        grad.put(i, edit_masked_backward(op, before.at(i), load_lanes(mask + i), grad.at(i), sums));
      }
    } else {
      for (int64_t i = 0; i < place.count; i += kLanes<A>)
        grad.put(i, edit_backward(op, before.at(i), grad.at(i), sums));
    }
    std::memcpy(sums_of_step, values, Operator::kSums * sizeof(Lanes<A>));
  });
}

}  // namespace ldie::editing
