// SPDX-License-Identifier: Apache-2.0
// Pointwise operators of one or three parameters that leave the hue alone, in closed form. Each has
//
//   prepare(params, numbers)      what its pixels need of its parameters, once
//   forward(x)                    y = f(x; p), not yet clamped
//   backward(x, grad, sums)       dL/dx of grad = dL/dy, and this pixel's part of the sums
//   gradient(params, sums, grad)  dL/dp of the sums over all pixels
//
// With V = max x and m = min x; for grey and black pixels, where HSV divides 0 by 0, the forms are plain.
#pragma once

#include <cmath>

#include "editing/pixel.h"

namespace ldie::editing {

// Operators whose sums are the gradients of their parameters.
template <int kCount>
struct PlainSums {
  static constexpr int kSums = kCount;

  template <typename A>
  static LDIE_HD void gradient(const A*, const double* sums, A* grad) {
    for (int i = 0; i < kCount; ++i) grad[i] = A(sums[i]);
  }
};

// max(1 + p, 0), the factor of brightness, saturation and lightness, and the factor's derivative.
template <typename A>
LDIE_HD void prepare_gain(const A* params, A* numbers) {
  numbers[0] = maximum(A(0), A(1) + params[0]);
  numbers[1] = params[0] > A(-1) ? A(1) : A(0);
}

// HSV with V' = min(V (1 + p), 1): y = k x, k = min(1 + p, 1 / V).
template <typename A>
struct Brightness : PlainSums<1> {
  A gain, live;

  explicit LDIE_HD Brightness(const A* numbers) : gain(numbers[0]), live(numbers[1]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { prepare_gain(params, numbers); }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    const V value = largest(x);
    const V factor = value * gain > A(1) ? A(1) / value : uniform<V>(gain);
    return factor * x;
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V value = largest(x), inverse = A(1) / value, along = dot(grad, x), none{};
    const auto full = value * gain > A(1);
    sums.add(0, full ? none : live * along);
    const V factor = full ? inverse : uniform<V>(gain);
    const V of_value = full ? -along * inverse * inverse : none;
    return factor * grad + of_value * shares_of(x, value);
  }
};

// HSV with S' = min(S (1 + p), 1): y = V - k (V - x), k = min(1 + p, V / (V - m)).
template <typename A>
struct Saturation : PlainSums<1> {
  A gain, live;

  explicit LDIE_HD Saturation(const A* numbers) : gain(numbers[0]), live(numbers[1]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { prepare_gain(params, numbers); }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    const V value = largest(x), chroma = value - smallest(x), most = maximum(value, V{});
    const V factor = chroma * gain > most ? most / chroma : uniform<V>(gain);
    return grey(value) - factor * (grey(value) - x);
  }

  // Where S' is 1, y = V (x - m) / (V - m).
  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V value = largest(x), least = smallest(x), chroma = value - least, most = maximum(value, V{}), none{};
    const auto full = chroma * gain > most;
    const V total = channel_sum(grad), along = dot(grad, grey(value) - x);
    sums.add(0, full ? none : -live * along);
    const V factor = full ? most / chroma : uniform<V>(gain);
    const V height = full ? total - along / chroma : none;  // sum of grad (x - m) / (V - m)
    const V of_value = full ? height - factor * height : total - factor * total;
    const V of_least = full ? factor * height - factor * total : none;
    return factor * grad + of_value * shares_of(x, value) + of_least * shares_of(x, least);
  }
};

// y = x (1 + p (h - 1)), h = g / (l + 1e-6), g = (1 - cos(pi l)) / 2, l the luminance in [0, 1].
template <typename A>
struct Contrast : PlainSums<1> {
  static constexpr A kSmall = A(1e-6);
  A amount;

  explicit LDIE_HD Contrast(const A* numbers) : amount(numbers[0]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { numbers[0] = params[0]; }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    const V light = clamp_unit(luminance(x)), sine = quarter_sine(light);
    const V ratio = sine * sine / (light + kSmall);
    return (A(1) + amount * (ratio - A(1))) * x;
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V raw = luminance(x), light = clamp_unit(raw), sine = quarter_sine(light),
            cosine = quarter_sine(A(1) - light);
    const V ratio = sine * sine / (light + kSmall), along = dot(grad, x);
    sums.add(0, along * (ratio - A(1)));
    const V of_ratio = (A(3.14159265358979324) * sine * cosine - ratio) / (light + kSmall);
    const V of_light = is_inside(raw) ? amount * along * of_ratio : V{};
    return (A(1) + amount * (ratio - A(1))) * grad + of_light * luminance_weights<V>();
  }

 private:
  // sin(pi l / 2) for l in [0, 1]: odd polynomials of least maximal relative error, 5e-9 and 3e-19.
  template <typename V>
  static LDIE_HD V quarter_sine(const V& light) {
    const V square = light * light, fourth = square * square;
    V sum;
    if constexpr (sizeof(A) == 4) {  // in pairs, so that a pixel's terms need not wait for each other
      const V low = uniform<V>(A(1.57079632)) - A(0.645963710) * square;
      const V high = uniform<V>(A(0.0796896753)) - A(4.67376186e-3) * square;
      sum = low + (high + A(1.51483068e-4) * fourth) * fourth;
    } else {
      sum = uniform<V>(A(-6.6843197077722117e-10)) + A(5.870564242541871e-12) * square;
      sum = sum * square + A(5.6921348369585843e-8);
      sum = sum * square - A(3.5988430068708171e-6);
      sum = sum * square + A(1.6044118470663974e-4);
      sum = sum * square - A(4.6817541353025866e-3);
      sum = sum * square + A(0.079692626246165426);
      sum = sum * square - A(0.64596409750624619);
      sum = sum * square + A(1.5707963267948966);
    }
    return light * sum;
  }
};

// y = 2^p x
template <typename A>
struct Exposure : PlainSums<1> {
  A factor;

  explicit LDIE_HD Exposure(const A* numbers) : factor(numbers[0]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { numbers[0] = std::exp2(params[0]); }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    return uniform<V>(factor) * x;
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    sums.add(0, A(0.693147180559945309) * factor * dot(grad, x));
    return uniform<V>(factor) * grad;
  }
};

// y = x + p (l - x), l the luminance.
template <typename A>
struct BlackWhite : PlainSums<1> {
  A amount;

  explicit LDIE_HD BlackWhite(const A* numbers) : amount(numbers[0]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { numbers[0] = params[0]; }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    return x + uniform<V>(amount) * (grey(luminance(x)) - x);
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    sums.add(0, dot(grad, grey(luminance(x)) - x));
    const V of_light = amount * channel_sum(grad);
    return uniform<V>(A(1) - amount) * grad + of_light * luminance_weights<V>();
  }
};

// y_c = p_c x_c
template <typename A>
struct WhiteBalance : PlainSums<3> {
  A red, green, blue;

  explicit LDIE_HD WhiteBalance(const A* numbers) : red(numbers[0]), green(numbers[1]), blue(numbers[2]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) {
    for (int c = 0; c < 3; ++c) numbers[c] = params[c];
  }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    return {red * x.r, green * x.g, blue * x.b};
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const Pixel<V> along = grad * x;
    sums.add(0, along.r);
    sums.add(1, along.g);
    sums.add(2, along.b);
    return {red * grad.r, green * grad.g, blue * grad.b};
  }
};

// y = 1, white; the parameter is not used.
template <typename A>
struct ColorBackground : PlainSums<0> {
  explicit LDIE_HD ColorBackground(const A*) {}
  static LDIE_HD void prepare(const A*, A*) {}

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>&) const {
    return grey(uniform<V>(1));
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>&, const Pixel<V>&, const Sums&) const {
    return grey(V{});
  }
};

}  // namespace ldie::editing
