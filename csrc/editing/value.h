// SPDX-License-Identifier: Apache-2.0
// Formulas of edits are written once, over a value type V: a number, or on the CPU lanes of numbers
// (lane_value_cpu.h). Comparisons, ?: and the arithmetic operators do the same for both; the rest is here.
#pragma once

#include <cmath>

#include "core/box.h"
#include "core/hd.h"

namespace ldie::editing {

template <typename V>
struct Value {
  using Number = V;
  using Index = int;

  static LDIE_HD Index truncated(const V& value) { return Index(value); }

  static LDIE_HD V minimum(const V& a, const V& b) { return ldie::minimum(a, b); }

  static LDIE_HD V clamp_unit(const V& value) { return minimum(maximum(V(0), value), V(1)); }
  static LDIE_HD V square_root(const V& value) { return std::sqrt(value); }

  // One of the eight numbers of a row.
  static LDIE_HD V entry(const Number* row, Index index) { return row[index]; }
};

template <typename V>
using Number = typename Value<V>::Number;

template <typename V>
LDIE_HD V uniform(Number<V> number) {
  return V{} + number;
}

// In [0, 1]; 0 of NaN.
template <typename V>
LDIE_HD V clamp_unit(const V& value) {
  return Value<V>::clamp_unit(value);
}

template <typename Mask, typename V>
LDIE_HD V select(const Mask& mask, const V& x, const V& y) {
  return mask ? x : y;
}

// A result of rounding may lie this far outside of [0, 1] and still is one inside.
template <typename A>
constexpr A kRounding = A(sizeof(A) == 4 ? 2e-6 : 4e-15);

// Whether clamp_unit() leaves a value as it is, so that a gradient passes: the ends of the range are inside.
template <typename V>
LDIE_HD auto is_inside(const V& value) {
  return (value >= -kRounding<Number<V>>)&(value <= Number<V>(1) + kRounding<Number<V>>);
}

// The gradient of clamp_unit(value).
template <typename V>
LDIE_HD V clamp_gradient(const V& value, const V& grad) {
  return is_inside(value) ? grad : V{};
}

}  // namespace ldie::editing
