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

// How the channels share the gradient of their largest or smallest value: evenly where several have it.
template <typename V>
LDIE_HD Pixel<V> shares_of(const Pixel<V>& x, const V& extreme) {
  const V one = uniform<V>(1), none{};
  const Pixel<V> is = {x.r == extreme ? one : none, x.g == extreme ? one : none, x.b == extreme ? one : none};
  return one / maximum(one, channel_sum(is)) * is;
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

// The gradient of clamp_unit(x).
template <typename V>
LDIE_HD Pixel<V> clamp_gradient(const Pixel<V>& x, const Pixel<V>& grad) {
  const V none{};
  return {is_inside(x.r) ? grad.r : none, is_inside(x.g) ? grad.g : none, is_inside(x.b) ? grad.b : none};
}

template <typename Mask, typename V>
LDIE_HD Pixel<V> select(const Mask& mask, const Pixel<V>& x, const Pixel<V>& y) {
  return {mask ? x.r : y.r, mask ? x.g : y.g, mask ? x.b : y.b};
}

}  // namespace ldie::editing
