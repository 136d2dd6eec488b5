// SPDX-License-Identifier: Apache-2.0
// A pixel as a vector of three values, and the shades that edits are made of.
#pragma once

#include "editing/value.h"

namespace ldie::editing {

template <typename V>
struct Pixel {
  V r, g, b;
};

template <typename V>
LDIE_HD Pixel<V> operator+(const Pixel<V>& x, const Pixel<V>& y) {
  return {x.r + y.r, x.g + y.g, x.b + y.b};
}

template <typename V>
LDIE_HD Pixel<V> operator-(const Pixel<V>& x, const Pixel<V>& y) {
  return {x.r - y.r, x.g - y.g, x.b - y.b};
}

template <typename V>
LDIE_HD Pixel<V> operator*(const Pixel<V>& x, const Pixel<V>& y) {
  return {x.r * y.r, x.g * y.g, x.b * y.b};
}

template <typename V>
LDIE_HD Pixel<V> operator*(const V& scale, const Pixel<V>& x) {
  return {scale * x.r, scale * x.g, scale * x.b};
}

template <typename V>
LDIE_HD Pixel<V> grey(const V& value) {
  return {value, value, value};
}

template <typename V>
LDIE_HD V channel_sum(const Pixel<V>& x) {
  return x.r + x.g + x.b;
}

template <typename V>
LDIE_HD V dot(const Pixel<V>& x, const Pixel<V>& y) {
  return channel_sum(x * y);
}

template <typename V>
LDIE_HD V largest(const Pixel<V>& x) {
  return maximum(x.r, maximum(x.g, x.b));
}

template <typename V>
LDIE_HD V smallest(const Pixel<V>& x) {
  return minimum(x.r, minimum(x.g, x.b));
}

// The gradient of the channels' largest or smallest value as one of theirs: evenly of those that have this value.
template <typename V>
LDIE_HD Pixel<V> shared(const V& grad, const Pixel<V>& x, const V& extreme) {
  using A = Number<V>;
  const V one = uniform<V>(1), none{};
  const auto red = x.r == extreme, green = x.g == extreme, blue = x.b == extreme;
  const V count = (red ? one : none) + (green ? one : none) + (blue ? one : none);
  const V share = grad * (count > A(2) ? uniform<V>(A(1) / A(3)) : count > A(1) ? uniform<V>(A(0.5)) : one);
  return {red ? share : none, green ? share : none, blue ? share : none};
}

// The weights of the original system's luminance.
template <typename V>
LDIE_HD Pixel<V> luminance_weights() {
  using A = Number<V>;
  return {uniform<V>(A(0.27)), uniform<V>(A(0.67)), uniform<V>(A(0.06))};
}

template <typename V>
LDIE_HD V luminance(const Pixel<V>& x) {
  return dot(luminance_weights<V>(), x);
}

template <typename V>
LDIE_HD Pixel<V> clamp_unit(const Pixel<V>& x) {
  return {clamp_unit(x.r), clamp_unit(x.g), clamp_unit(x.b)};
}

template <typename V>
LDIE_HD Pixel<V> clamp_gradient(const Pixel<V>& x, const Pixel<V>& grad) {
  return {clamp_gradient(x.r, grad.r), clamp_gradient(x.g, grad.g), clamp_gradient(x.b, grad.b)};
}

template <typename Mask, typename V>
LDIE_HD Pixel<V> select(const Mask& mask, const Pixel<V>& x, const Pixel<V>& y) {
  return {select(mask, x.r, y.r), select(mask, x.g, y.g), select(mask, x.b, y.b)};
}

}  // namespace ldie::editing
