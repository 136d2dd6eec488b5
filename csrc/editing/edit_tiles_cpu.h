// SPDX-License-Identifier: Apache-2.0
// CPU: runs of pointwise steps on tiles of pixels that stay in the first-level cache, channel beside channel.
#pragma once

#include <cstring>

#include "core/integers.h"
#include "editing/apply_edits.h"
#include "editing/channel_bytes_cpu.h"
#include "editing/inside_cpu.h"
#include "editing/lane_value_cpu.h"

namespace ldie::editing {

// The most pixels of a tile: forward, and backward, where each step has a tile of its own.
constexpr int64_t kForwardPixels = 1024, kBackwardPixels = 256;

// One KB of each channel at a time: long enough a stream of memory, and in float32 short enough that what is read,
// worked on and written stays in the first-level cache.
template <typename T>
constexpr int64_t kStreamPixels = 1024 / int64_t(sizeof(T));

// Pixels by rows of their channels, each to be read or written by whole registers.
template <typename Element>
struct PixelRows {
  using A = std::remove_const_t<Element>;
  Element* channels[3];
  bool inside = false;  // all values are known to be in [0, 1]

  inline __attribute__((always_inline)) Pixel<Lanes<A>> at(int64_t i) const {
    return {load_lanes<A>(channels[0] + i), load_lanes<A>(channels[1] + i), load_lanes<A>(channels[2] + i)};
  }
  inline __attribute__((always_inline)) void put(int64_t i, const Pixel<Lanes<A>>& pixel) const {
    std::memcpy(channels[0] + i, &pixel.r, sizeof pixel.r);
    std::memcpy(channels[1] + i, &pixel.g, sizeof pixel.g);
    std::memcpy(channels[2] + i, &pixel.b, sizeof pixel.b);
  }
};

// As many pixels as the image has left fill a tile up to a whole register, the rest of it being black.
template <typename A, int64_t kPixels>
struct PixelTile {
  alignas(kLaneBytes) A channels[3][kPixels];

  PixelRows<A> rows() { return {{channels[0], channels[1], channels[2]}}; }
  PixelRows<const A> rows() const { return {{channels[0], channels[1], channels[2]}}; }
};

// Where a tile lies: pixels begin .. begin + count of a sample of this many.
struct TilePlace {
  int64_t pixels, begin, count;
};

// The prepared steps of one sample that do something, and which of its sequence each is.
template <typename A>
struct Program {
  EditStep<A> steps[kMostSteps];
  int64_t places[kMostSteps], count = 0;

  Program(const EditSequences<A>& sequences, int64_t sample) {
    for (int64_t k = 0; k < sequences.steps; ++k) {
      prepare_step(sequences, sample * sequences.steps + k, steps[count]);
      places[count] = k;
      count += is_operator(steps[count].op);
    }
  }
};

template <typename Element>
PixelRows<Element> rows_at(Element* sample, const TilePlace& place) {
  Element* const first = sample + place.begin;
  return {{first, first + place.pixels, first + 2 * place.pixels}};
}

template <typename T>
void load_tile(const T* sample, const TilePlace& place, const PixelRows<acc_t<T>>& tile) {
  for (int64_t c = 0; c < 3; ++c) {
    acc_t<T>* const channel = tile.channels[c];
    const T* const elements = sample + c * place.pixels + place.begin;
    for (int64_t i = 0; i < place.count; ++i) channel[i] = to_number(elements[i]);
    for (int64_t i = place.count; i < round_up(place.count, kLanes<acc_t<T>>); ++i) channel[i] = 0;
  }
}

template <typename T>
void store_tile(const PixelRows<const acc_t<T>>& tile, const TilePlace& place, T* sample) {
  const int64_t count = place.count;  // read once: a byte that is written might be part of it
  for (int64_t c = 0; c < 3; ++c) {
    const acc_t<T>* const channel = tile.channels[c];
    T* const elements = sample + c * place.pixels + place.begin;
    for (int64_t i = 0; i < count; ++i) elements[i] = to_element<T>(channel[i]);
  }
}

// The same of pixels whose channels come last.
inline void load_tile_of_bytes(const uint8_t* sample, const TilePlace& place, const PixelRows<float>& tile) {
  uint8_t rows[3][kForwardPixels];
  split_channels(sample + 3 * place.begin, place.count, rows[0], rows[1], rows[2]);
  load_tile(rows[0], TilePlace{kForwardPixels, 0, place.count}, tile);
}

inline void store_tile_of_bytes(const PixelRows<const float>& tile, const TilePlace& place, uint8_t* sample) {
  uint8_t rows[3][kForwardPixels];
  store_tile(tile, TilePlace{kForwardPixels, 0, place.count}, rows[0]);
  join_channels(rows[0], rows[1], rows[2], place.count, sample + 3 * place.begin);
}

template <typename A>
void load_mask(const EditSequences<A>& sequences, const EditStep<A>& step, const TilePlace& place, A* mask) {
  for (int64_t i = 0; i < place.count; ++i) mask[i] = mask_value(sequences, step, place.pixels, place.begin + i);
  for (int64_t i = place.count; i < round_up(place.count, kLanes<A>); ++i) mask[i] = 0;
}

// Whether all pixels up to `count`, and those that fill the last register, are in [0, 1].
template <typename A>
bool all_inside(const PixelRows<const A>& rows, int64_t count) {
  auto outside = Lanes<A>{} != Lanes<A>{};
  for (int64_t i = 0; i < count; i += kLanes<A>) {
    const Pixel<Lanes<A>> x = rows.at(i), inside = clamp_unit(x);
    outside |= (x.r != inside.r) | (x.g != inside.g) | (x.b != inside.b);
  }
  return !any_lane(outside);
}

// Where `after` is `before`, in place. Returns `after`: pixels in [0, 1], but for those that a mask passes over.
template <typename A>
PixelRows<const A> apply_step(const EditSequences<A>& sequences, const EditStep<A>& step, const TilePlace& place,
                              const PixelRows<const A>& before, const PixelRows<A>& after) {
  alignas(kLaneBytes) A mask[kForwardPixels];
  const bool masked = step.mask != kWholeImage;
  if (masked) load_mask(sequences, step, place, mask);
  with_operator<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    if (masked) {
      for (int64_t i = 0; i < place.count; i += kLanes<A>) {
        after.put(i, edit_masked(op, before.at(i), load_lanes(mask + i)));
      }
    } else if (before.inside) {
      for (int64_t i = 0; i < place.count; i += kLanes<A>) after.put(i, edit_inside(op, before.at(i)));
    } else {
      for (int64_t i = 0; i < place.count; i += kLanes<A>) after.put(i, edit(op, before.at(i)));
    }
  });
  return {{after.channels[0], after.channels[1], after.channels[2]}, before.inside || !masked};
}

// Backward over a tile's registers: of image(i), in [0, 1] or not, and grad(i), pixels or one channel of them, to
// put(i, gradient).
template <typename A, typename Operator, typename Image, typename Grad, typename Put>
inline __attribute__((always_inline)) void run_backward(const Operator& op, Lanes<A>* sums_of_step, const A* mask,
                                                        int64_t count, bool inside, const Image& image,
                                                        const Grad& grad, const Put& put) {
  Lanes<A> values[Operator::kSums + 1] = {};  // of their own, so that the compiler sees that nothing else is written
  const LaneSums<A> sums{values};
  if (mask != nullptr) {
    for (int64_t i = 0; i < count; i += kLanes<A>) {
      put(i, edit_masked_backward(op, image(i), load_lanes(mask + i), grad(i), sums));
    }
  } else if (inside && keeps_inside(op)) {
    for (int64_t i = 0; i < count; i += kLanes<A>) put(i, edit_inside_backward(op, image(i), grad(i), sums));
  } else {
    for (int64_t i = 0; i < count; i += kLanes<A>) put(i, edit_backward(op, image(i), grad(i), sums));
  }
  if constexpr (std::is_same_v<Operator, CurveChannel<A>>) sums.end_curve(op.first_sum);
  for (int i = 0; i < Operator::kSums; ++i) sums_of_step[i] += values[i];
}

// Takes the gradient of what the step made of `before` to that of `before`, and adds to the step's sums.
template <typename A>
void apply_step_backward(const EditSequences<A>& sequences, const EditStep<A>& step, const TilePlace& place,
                         const PixelRows<const A>& before, const PixelRows<A>& grad, Lanes<A>* sums_of_step) {
  alignas(kLaneBytes) A mask[kBackwardPixels];
  const bool masked = step.mask != kWholeImage;
  if (masked) load_mask(sequences, step, place, mask);
  with_operator<A>(step.op, [&]<typename Operator>() {
    const Operator op(step.numbers);
    if constexpr (requires { op.channel(0); }) {  // the sums of one channel fit the registers
      for (int c = 0; c < 3; ++c) {
        const CurveChannel<A> curve = op.channel(c);
        A* const grads = grad.channels[c];
        run_backward(
            CurveChannel<A>{curve.row, 0}, sums_of_step + curve.first_sum, masked ? mask : nullptr, place.count,
            before.inside, [&](int64_t i) { return load_lanes(before.channels[c] + i); },
            [&](int64_t i) { return load_lanes(grads + i); },
            [&](int64_t i, const Lanes<A>& value) { std::memcpy(grads + i, &value, sizeof value); });
      }
    } else {
      run_backward(
          op, sums_of_step, masked ? mask : nullptr, place.count, before.inside,
          [&](int64_t i) { return before.at(i); }, [&](int64_t i) { return grad.at(i); },
          [&](int64_t i, const Pixel<Lanes<A>>& value) { grad.put(i, value); });
    }
  });
}

}  // namespace ldie::editing
