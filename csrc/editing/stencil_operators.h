// SPDX-License-Identifier: Apache-2.0
// Operators that read a pixel's neighbours, each channel by itself. Each has prepare() and gradient() as pointwise ones
// (shade_operators.h), and
//
//   border()                    what counts as a pixel beyond the image
//   forward(x)                  y = f(x; p) of a pixel with its neighbours, not yet clamped
//   backward(x, grad, sums)     of grad = dL/dy what goes to the pixel itself, and kFields values for its neighbours
//   spread<field>(values)       what a pixel gets of its neighbours' values, and of its own
//   field_border(field)         what counts as such a value beyond the image
//   read<field>(dx)             what a pixel's field is multiplied with forwards
//
// so that dL/dx = own + spread<0>(field 0) + .. : gathered, without a pixel writing to another. Of a grad of 1 these
// are dy = own dx + field 0 read<0>(dx) + .., with dx beyond the image as x is.
#pragma once

#include "editing/shade_operators.h"

namespace ldie::editing {

// A pixel's channel and its eight neighbours, at[1 + dy][1 + dx].
template <typename V>
struct Around {
  V at[3][3];
};

// Beyond the image stands the nearest value inside times a factor for each direction; with 0 it is 0 whatever is
// inside.
struct Border {
  int along_x, along_y;
};

template <typename V>
LDIE_HD V beyond(int factor, const V& value) {
  return factor == 0 ? V{} : factor < 0 ? -value : value;
}

// What an edit blends with and what outside of a mask stays.
template <typename X>
LDIE_HD const X& own_value(const X& x) {
  return x;
}
template <typename V>
LDIE_HD const V& own_value(const Around<V>& x) {
  return x.at[1][1];
}

template <typename V, int kCount>
struct Flow {
  V own, fields[kCount];
};

// y = x + p d(x) for a linear d that is its own transpose, black beyond the image.
template <typename A, typename Difference>
struct LinearStencil : PlainSums<1> {
  static constexpr int kFields = 1;
  A amount;

  explicit LDIE_HD LinearStencil(const A* numbers) : amount(numbers[0]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { numbers[0] = params[0]; }

  static LDIE_HD Border border() { return {0, 0}; }
  static LDIE_HD Border field_border(int) { return border(); }

  template <typename V>
  LDIE_HD V forward(const Around<V>& x) const {
    return own_value(x) + amount * Difference::of(x);
  }

  template <typename V, typename Sums>
  LDIE_HD Flow<V, kFields> backward(const Around<V>& x, const V& grad, const Sums& sums) const {
    sums.add(0, grad * Difference::of(x));
    return {grad, {amount * grad}};
  }

  template <int kField, typename V>
  static LDIE_HD V spread(const Around<V>& values) {
    return Difference::of(values);
  }

  template <int kField, typename V>
  static LDIE_HD V read(const Around<V>& values) {
    return Difference::of(values);
  }
};

// Four times the pixel less those beside, above and below it.
template <typename A>
struct Laplacian {
  template <typename V>
  static LDIE_HD V of(const Around<V>& x) {
    return A(4) * x.at[1][1] - (x.at[0][1] + x.at[2][1]) - (x.at[1][0] + x.at[1][2]);
  }
};

// The mean with the weights of a Gaussian of sigma 2 over 3 x 3 pixels, less the pixel.
template <typename A>
struct GaussianDifference {
  static constexpr double kFall = 0.88249690258459540;  // e^(-1 / 8), one pixel from the middle
  static constexpr A kMiddle = A(1 / (1 + 2 * kFall)), kSide = A(kFall / (1 + 2 * kFall));

  template <typename V>
  static LDIE_HD V of(const Around<V>& x) {
    return kMiddle * of_row(x.at[1]) + kSide * (of_row(x.at[0]) + of_row(x.at[2])) - x.at[1][1];
  }

 private:
  template <typename V>
  static LDIE_HD V of_row(const V* row) {
    return kMiddle * row[1] + kSide * (row[0] + row[2]);
  }
};

template <typename A>
using Sharpness = LinearStencil<A, Laplacian<A>>;
template <typename A>
using Blur = LinearStencil<A, GaussianDifference<A>>;

// y = x + p (e - x), e the length of the Sobel gradient / 4: the height of a straight step. The image goes on beyond
// its border as it ends there. Where it is flat, e has the gradient 0.
template <typename A>
struct Edge : PlainSums<1> {
  static constexpr int kFields = 2;  // for the two components
  A amount;

  explicit LDIE_HD Edge(const A* numbers) : amount(numbers[0]) {}
  static LDIE_HD void prepare(const A* params, A* numbers) { numbers[0] = params[0]; }

  static LDIE_HD Border border() { return {1, 1}; }

  // Of a difference over values that go on beyond the border the transpose is one over values that change their sign.
  static LDIE_HD Border field_border(int field) { return field == 0 ? Border{-1, 1} : Border{1, -1}; }

  template <typename V>
  LDIE_HD V forward(const Around<V>& x) const {
    return own_value(x) + amount * (Slope<V>(x).length - own_value(x));
  }

  template <typename V, typename Sums>
  LDIE_HD Flow<V, kFields> backward(const Around<V>& x, const V& grad, const Sums& sums) const {
    const Slope<V> slope(x);
    sums.add(0, grad * (slope.length - own_value(x)));
    const V of_length = amount * grad, none{}, share = slope.length > none ? of_length / slope.length : none;
    return {grad - of_length, {share * slope.x, share * slope.y}};
  }

  template <int kField, typename V>
  static LDIE_HD V spread(const Around<V>& values) {
    return kField == 0 ? -slope_x(values) : -slope_y(values);
  }

  template <int kField, typename V>
  static LDIE_HD V read(const Around<V>& values) {
    return kField == 0 ? slope_x(values) : slope_y(values);
  }

 private:
  template <typename V>
  static LDIE_HD V slope_x(const Around<V>& x) {
    return A(0.25) * ((x.at[0][2] - x.at[0][0]) + A(2) * (x.at[1][2] - x.at[1][0]) + (x.at[2][2] - x.at[2][0]));
  }
  template <typename V>
  static LDIE_HD V slope_y(const Around<V>& x) {
    return A(0.25) * ((x.at[2][0] - x.at[0][0]) + A(2) * (x.at[2][1] - x.at[0][1]) + (x.at[2][2] - x.at[0][2]));
  }

  template <typename V>
  struct Slope {
    V x, y, length;

    explicit LDIE_HD Slope(const Around<V>& around)
        : x(slope_x(around)), y(slope_y(around)), length(Value<V>::square_root(x * x + y * y)) {}
  };
};

// `sum` and term<f>() of each of the operator's fields, in their order.
template <typename Operator, typename V, typename Term>
LDIE_HD V add_fields(V sum, const Term& term) {
  sum += term.template operator()<0>();
  if constexpr (Operator::kFields > 1) sum += term.template operator()<1>();
  return sum;
}

}  // namespace ldie::editing
