// SPDX-License-Identifier: Apache-2.0
// Pointwise operators of one or three parameters that leave the hue alone, in closed form. Each has
//
//   prepare(params, numbers)      what its pixels need of its parameters, once
//   forward(x)                    y = f(x; p), not yet clamped
//   backward(x, grad, sums)       dL/dx of grad = dL/dy, and this pixel's part of the sums
//   gradient(params, sums, grad)  dL/dp of the sums over all pixels
//   gradients
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
    return Value<V>::minimum(uniform<V>(gain), A(1) / brightest(x)) * x;
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V value = brightest(x), inverse = A(1) / value, along = dot(grad, x), none{};
    const auto full = inverse < gain;
    sums.add(0, full ? none : live * along);
    const V of_value = full ? -along * inverse * inverse : none;
    return Value<V>::minimum(uniform<V>(gain), inverse) * grad + shared(of_value, x, value);
  }

 private:
  // V, and 0 of what lies below black.
  template <typename V>
  static LDIE_HD V brightest(const Pixel<V>& x) {
    return maximum(largest(x), V{});
  }
};

// HSV with S' = min(S (1 + p), 1): y = k x + (1 - k) V, k = min(1 + p, V / (V - m)).
template <typename A>
struct Saturation : PlainSums<1> {
  A gain, live;

  explicit LDIE_HD Saturation(const A* numbers) : gain(numbers[0]), live(numbers[1]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { prepare_gain(params, numbers); }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    const V value = largest(x), factor = Value<V>::minimum(uniform<V>(gain), most(value, value - smallest(x)));
    return factor * x + grey((A(1) - factor) * value);
  }

  // Where S' is 1, y = V (x - m) / (V - m).
  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V value = largest(x), least = smallest(x), chroma = value - least, end = most(value, chroma), none{};
    const auto full = end < gain;
    const V factor = Value<V>::minimum(uniform<V>(gain), end);
    const V total = channel_sum(grad), along = total * value - dot(grad, x);
    sums.add(0, full ? none : -live * along);
    const V height = full ? total - along / chroma : total;  // sum of grad (x - m) / (V - m)
    const V of_value = height - factor * height;
    const V of_least = factor * (height - total);
    return factor * grad + shared(of_value, x, value) + shared(of_least, x, least);
  }

 private:
  // The k with which the least channel is 0; NaN for black, which minimum() passes over as it does the infinite of
  // grey.
  template <typename V>
  static LDIE_HD V most(const V& value, const V& chroma) {
    return maximum(value, V{}) / chroma;
  }
};

// y = x (1 + p (h - 1)), h = g / (l + 1e-6), g = (1 - cos(pi l)) / 2, l the luminance in [0, 1].
template <typename A>
struct Contrast : PlainSums<1> {
  A amount, rest;

  explicit LDIE_HD Contrast(const A* numbers) : amount(numbers[0]), rest(numbers[1]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) {
    numbers[0] = params[0];
    numbers[1] = A(1) - params[0];
  }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    return (rest + amount * Ratio<V>(clamp_unit(luminance(x))).value) * x;
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V light = luminance(x), along = dot(grad, x);
    const Ratio<V> ratio(clamp_unit(light));
    sums.add(0, along * (ratio.value - A(1)));
    const V of_light = is_inside(light) ? amount * along * ratio.slope : V{};
    return (rest + amount * ratio.value) * grad + of_light * luminance_weights<V>();
  }

 private:
  // h and dh / dl.
  template <typename V>
  struct Ratio {
    V value, slope;

    explicit LDIE_HD Ratio(const V& light) {
      const V square = light * light;
      const Bend<V> bend(square);
      if constexpr (sizeof(A) == 4) {  // without a division: l^2 / (l + e) as l - e, which moves y by less than 1e-10
        const V less = light - kSmall;
        value = less * bend.value;
        slope = bend.value + (light + light) * less * bend.slope;
      } else {
        const V inverse = A(1) / (light + kSmall);
        value = square * bend.value * inverse;
        slope = ((light + light) * (bend.value + square * bend.slope) - value) * inverse;
      }
    }
  };

  // Q(s) = (1 - cos(pi l)) / (2 s) for s = l^2 in [0, 1], and dQ / ds: polynomials of least maximal relative error of
  // Q, 1.4e-8 and 4e-17.
  template <typename V>
  struct Bend {
    V value, slope;

    explicit LDIE_HD Bend(const V& square) {
      if constexpr (sizeof(A) == 4) {
        constexpr A kTerms[] = {A(2.46740107),   A(-2.0293539),   A(0.667608241),
                                A(-0.117572473), A(0.0127315544), A(-8.14504592e-4)};
        evaluate(kTerms, square);
      } else {
        constexpr A kTerms[] = {A(2.4674011002723396),    A(-2.0293560632083651),    A(0.66763138442670736),
                                A(-0.11766531517232858),  A(0.012903445650808815),   A(-9.6478699591051167e-4),
                                A(5.2318702941476902e-5), A(-2.1510557130209439e-6), A(6.899509306679965e-8),
                                A(-1.6155731055337994e-9)};
        evaluate(kTerms, square);
      }
    }

   private:
    // In pairs, so that a pixel's terms need not wait for each other.
    template <int kCount>
    LDIE_HD void evaluate(const A (&terms)[kCount], const V& square) {
      const V fourth = square * square;
      value = terms[kCount - 2] + terms[kCount - 1] * square;
      slope = uniform<V>(A(kCount - 1) * terms[kCount - 1]);
      for (int i = kCount - 4; i >= 0; i -= 2) {
        value = (terms[i] + terms[i + 1] * square) + fourth * value;
        slope = (A(i + 1) * terms[i + 1] + A(i + 2) * terms[i + 2] * square) + fourth * slope;
      }
    }
  };

  static constexpr A kSmall = A(1e-6);
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
