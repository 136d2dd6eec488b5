// SPDX-License-Identifier: Apache-2.0
// Pointwise operators on hue and lightness in closed form; shade_operators.h says what each of them has.
//
// A hue h of six sixths, red 0, green 2 and blue -2, gives with V = max x, m = min x
//   y_c = V - (V - m) fall(h + offset_c),  fall(e) = 2 - |e| in [0, 1], |e| the distance on the circle of six,
// where offset_c, the way from the channel's complement, is +-3 for red, 1 for green and -1 for blue.
#pragma once

#include <cmath>

#include "editing/shade_operators.h"

namespace ldie::editing {

// On the circle of six from 0, for -6 <= sixths <= 6.
template <typename V>
LDIE_HD V circle_distance(const V& sixths) {
  const V distance = maximum(sixths, -sixths);
  return minimum(distance, Number<V>(6) - distance);
}

template <typename V>
LDIE_HD V fall(const V& sixths) {
  return clamp_unit(Number<V>(2) - circle_distance(sixths));
}

// d fall / d sixths. At its corners the mean of both sides, so that a rotation by 0 has the gradient of no rotation
// where two channels are equal.
template <typename V>
LDIE_HD V fall_slope(const V& sixths) {
  using A = Number<V>;
  const V distance = circle_distance(sixths), none{}, half = uniform<V>(A(0.5)), one = uniform<V>(1);
  const V inside = distance > A(1) ? one : distance == A(1) ? half : none;
  const V below = distance < A(2) ? inside : distance == A(2) ? half : none;
  const V away = sixths > none ? below : -below;  // grows with the distance
  const V turned = maximum(sixths, -sixths) > A(3) ? -away : away;
  return -turned;
}

// The channels' offsets when the hue is turned by this part of a circle, each in [-3, 3).
template <typename A>
LDIE_HD Pixel<A> hue_offsets(A turn) {
  const Pixel<A> sixths = grey(A(6) * turn) + Pixel<A>{A(3), A(1), A(-1)};
  return {sixths.r - A(6) * std::floor((sixths.r + A(3)) / A(6)),
          sixths.g - A(6) * std::floor((sixths.g + A(3)) / A(6)),
          sixths.b - A(6) * std::floor((sixths.b + A(3)) / A(6))};
}

// HSV with H' = H + p.
template <typename A>
struct Hue : PlainSums<1> {
  A red, green, blue;

  explicit LDIE_HD Hue(const A* numbers) : red(numbers[0]), green(numbers[1]), blue(numbers[2]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) {
    const Pixel<A> offsets = hue_offsets(params[0]);
    numbers[0] = offsets.r;
    numbers[1] = offsets.g;
    numbers[2] = offsets.b;
  }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    const V value = largest(x), chroma = value - smallest(x);
    const Pixel<V> turned = turned_by(Sector<V>(x, value, chroma).hue);
    return grey(value) - chroma * Pixel<V>{fall(turned.r), fall(turned.g), fall(turned.b)};
  }

  // Where two channels are the largest, the hue still has a gradient of its own, and only V is shared. Grey has no hue.
  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V value = largest(x), least = smallest(x), chroma = value - least, none{};
    const Sector<V> sector(x, value, chroma);
    const Pixel<V> turned = turned_by(sector.hue);
    const Pixel<V> falls = {fall(turned.r), fall(turned.g), fall(turned.b)};
    const V slope = -dot(grad, Pixel<V>{fall_slope(turned.r), fall_slope(turned.g), fall_slope(turned.b)});
    const V turning = chroma > none ? slope : none;  // of the hue, times the chroma
    sums.add(0, A(6) * chroma * turning);
    const V of_chroma = -dot(grad, falls), of_value = channel_sum(grad) + of_chroma;
    const V of_ratio = turning * sector.ratio;
    return shared(of_value, x, value) + shared(of_ratio - of_chroma, x, least) + sector.spread(turning, of_ratio);
  }

 private:
  // Which channel is the largest, the first of several, and the hue that follows.
  template <typename V>
  struct Sector {
    Pixel<V> top;  // 1 for that channel, else 0
    V ratio, hue;

    LDIE_HD Sector(const Pixel<V>& x, const V& value, const V& chroma) {
      const V none{}, one = uniform<V>(1);
      const auto red = x.r == value, green = x.g == value;
      top.r = red ? one : none;
      top.g = red ? none : green ? one : none;
      top.b = one - top.r - top.g;
      const V difference = red ? x.g - x.b : green ? x.b - x.r : x.r - x.g;
      ratio = chroma > none ? difference / chroma : none;
      hue = ratio + A(2) * (top.g - top.b);
    }

    // d difference / dx, and of the chroma below it what falls to the largest channel.
    LDIE_HD Pixel<V> spread(const V& turning, const V& of_ratio) const {
      const Pixel<V> difference = {top.b - top.g, top.r - top.b, top.g - top.r};
      return turning * difference - of_ratio * top;
    }
  };

  template <typename V>
  LDIE_HD Pixel<V> turned_by(const V& hue) const {
    return {hue + red, hue + green, hue + blue};
  }
};

// HSV with H' = p: all hues become one.
template <typename A>
struct Colorize : PlainSums<1> {
  Pixel<A> falls, slopes;

  explicit LDIE_HD Colorize(const A* numbers)
      : falls{numbers[0], numbers[1], numbers[2]}, slopes{numbers[3], numbers[4], numbers[5]} {}
  static LDIE_HD void prepare(const A* params, A* numbers) {
    const Pixel<A> offsets = hue_offsets(params[0]);
    numbers[0] = fall(offsets.r);
    numbers[1] = fall(offsets.g);
    numbers[2] = fall(offsets.b);
    numbers[3] = fall_slope(offsets.r);
    numbers[4] = fall_slope(offsets.g);
    numbers[5] = fall_slope(offsets.b);
  }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    const V value = largest(x);
    return grey(value) - (value - smallest(x)) * of_all<V>(falls);
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V value = largest(x), least = smallest(x);
    sums.add(0, A(-6) * (value - least) * dot(grad, of_all<V>(slopes)));
    const V of_least = dot(grad, of_all<V>(falls)), of_value = channel_sum(grad) - of_least;
    return shared(of_value, x, value) + shared(of_least, x, least);
  }

 private:
  template <typename V>
  static LDIE_HD Pixel<V> of_all(const Pixel<A>& x) {
    return {uniform<V>(x.r), uniform<V>(x.g), uniform<V>(x.b)};
  }
};

// HSL with L' = min(L (1 + p), 1): y = L' + rho (x - L), rho = min(L', 1 - L') / min(L, 1 - L). HSL is not continuous
// at white, where rho has no limit and 0 is taken.
template <typename A>
struct Lightness : PlainSums<1> {
  A gain, live;

  explicit LDIE_HD Lightness(const A* numbers) : gain(numbers[0]), live(numbers[1]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { prepare_gain(params, numbers); }

  template <typename V>
  LDIE_HD Pixel<V> forward(const Pixel<V>& x) const {
    const Lights<V> light(largest(x), smallest(x), gain);
    return grey(light.after) + light.ratio * (x - grey(light.before));
  }

  template <typename V, typename Sums>
  LDIE_HD Pixel<V> backward(const Pixel<V>& x, const Pixel<V>& grad, const Sums& sums) const {
    const V value = largest(x), least = smallest(x), none{};
    const Lights<V> light(value, least, gain);
    const V total = channel_sum(grad), along = dot(grad, x - grey(light.before));
    const V part = light.room > none ? along / light.room : none;
    const V rising = light.after < A(0.5) ? part : -part;
    const V of_after = light.full ? none : total + rising;
    const V falling = light.before < A(0.5) ? part : -part;
    const V of_before = gain * of_after - light.ratio * (total + falling);
    sums.add(0, live * light.before * of_after);
    return light.ratio * grad + shared(A(0.5) * of_before, x, value) + shared(A(0.5) * of_before, x, least);
  }

 private:
  template <typename V>
  struct Lights {
    V before, after, room, ratio;  // L, L', min(L, 1 - L), rho
    decltype(V{} > V{}) full;      // L' is 1

    LDIE_HD Lights(const V& value, const V& least, A gain) {
      const V none{}, one = uniform<V>(1), above = A(0.5) * ((A(1) - value) + (A(1) - least));
      before = A(0.5) * (value + least);
      room = minimum(before, above);
      full = before * gain > A(1);
      after = minimum(before * gain, one);
      const V limit = before < A(0.5) ? uniform<V>(gain) : none;
      ratio = room > none ? minimum(after, A(1) - after) / room : limit;
    }
  };
};

}  // namespace ldie::editing
