// SPDX-License-Identifier: Apache-2.0
// The convolution of features that each hypothesis gates, from what the features give of themselves:
//   output[n, o, p] = sum over taps k of gates[n, p + k] * responses[o, k, p + k],   responses[o, k] = W[o, :, k] . f
// which is W * (gates[n] f) by linearity, without the products gates[n] f. A term of a place outside of the map is
// none.
//
// Its gradient in gates has the same form, with the taps turned around, and that in responses is the products' sum over
// the hypotheses:
//   d gates[n, p]        = sum over o, k of d output[n, o, p + k] * responses[o, -k, p]
//   d responses[o, k, p] = sum over n of    d output[n, o, p - k] * gates[n, p]
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/fast_math.h"

namespace ldie::pyramid {

// Maps, and the taps of a K x K window on them: k counts row by row from (-(K / 2), -(K / 2)), K odd.
struct TapWindow {
  int64_t side, height, width;

  LDIE_HD int64_t taps() const { return side * side; }
  LDIE_HD int64_t radius() const { return side / 2; }
  LDIE_HD int64_t plane() const { return height * width; }
  LDIE_HD bool has_row(int64_t y) const { return (y >= 0) & (y < height); }
};

// results[n, s, p] = sum over c, k of maps[n, c, p + k] * response(s, c, k), for each image: the outputs (c has one
// value, s is o), or the gradient in gates (c is o, s has one value).
template <typename T>
struct GatedSums {
  const T* maps;       // [batch, count, channels, height, width]
  const T* responses;  // [batch, sums, channels, taps, height, width]
  TapWindow window;
  int64_t batch, count, channels, sums;
  bool turned;  // the gradient
  T* results;   // [batch, count, sums, height, width]

  LDIE_HD const T* map(int64_t image, int64_t n, int64_t channel) const {
    return maps + ((image * count + n) * channels + channel) * window.plane();
  }
  LDIE_HD T* result(int64_t image, int64_t n, int64_t sum) const {
    return results + ((image * count + n) * sums + sum) * window.plane();
  }
  // The map of responses that belongs to tap k: it is read at p + k like the maps, or at p if turned.
  LDIE_HD const T* response(int64_t image, int64_t sum, int64_t channel, int64_t k) const {
    const int64_t tap = turned ? window.taps() - 1 - k : k;
    return responses + (((image * sums + sum) * channels + channel) * window.taps() + tap) * window.plane();
  }
};

template <typename T>
void gated_sums(const GatedSums<T>& args, Context& context);

// results[o, k, p] = sum over n of grads[n, o, p - k] * gates[n, p], for each image.
template <typename T>
struct GatedProducts {
  const T* grads;  // [batch, count, outputs, height, width]
  const T* gates;  // [batch, count, height, width]
  TapWindow window;
  int64_t batch, count, outputs;
  T* results;  // [batch, outputs, taps, height, width]

  LDIE_HD const T* grad(int64_t image, int64_t n, int64_t output) const {
    return grads + ((image * count + n) * outputs + output) * window.plane();
  }
  LDIE_HD const T* gate(int64_t image, int64_t n) const { return gates + (image * count + n) * window.plane(); }
  LDIE_HD T* result(int64_t image, int64_t output, int64_t k) const {
    return results + ((image * outputs + output) * window.taps() + k) * window.plane();
  }
};

template <typename T>
void gated_products(const GatedProducts<T>& args, Context& context);

}  // namespace ldie::pyramid
