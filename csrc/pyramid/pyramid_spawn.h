// SPDX-License-Identifier: Apache-2.0
// The growth step of a mask pyramid, births: the least covered cells of each image begin hypotheses, as far as there is
// room. Cells below a threshold do, and besides these as many of the lowest as make up a wanted number.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/fast_math.h"
#include "core/half.h"
#include "core/hd.h"
#include "core/limits.h"
#include "pyramid/selection.h"

namespace ldie::pyramid {

// Of all images, but for the coverage of their cells: what decides, and where the births go.
template <typename A>
struct Births {
  const uint8_t* alive;  // [batch, slots]
  int64_t batch, area, width, slots;
  int64_t capacity, max_alive, min_spawn;
  A threshold;
  double step;      // of a cell, in the unit of places
  int64_t* cells;   // [batch, capacity]; -1 in unused places
  int64_t* counts;  // [batch]
  float* places;    // [batch, capacity, 2] x y; NaN in unused places

  // How many of an image's first cells are taken: the low ones, which are below the threshold, or, where these are
  // fewer than the least number, as many of the open ones, which are below 1; as far as there is room.
  LDIE_HD int64_t taken(int64_t alive_slots, int64_t low, int64_t open) const {
    const int64_t least = min_spawn < open ? min_spawn : open;
    const int64_t free = max_alive > alive_slots ? max_alive - alive_slots : 0;
    const int64_t wanted = low < least ? least : low, room = free < capacity ? free : capacity;
    return wanted < room ? wanted : room;
  }
  LDIE_HD void put(int64_t place, int64_t cell) const {
    cells[place] = cell;
    places[2 * place] = float((double(cell % width) + 0.5) * step);
    places[2 * place + 1] = float((double(cell / width) + 0.5) * step);
  }
  LDIE_HD void leave(int64_t place) const {
    cells[place] = -1;
    places[2 * place] = places[2 * place + 1] = kNotANumber<float>;
  }
};

// Of guides of several classes the greatest; NaN is greater than all.
template <typename A>
LDIE_HD A greater_guide(A guide, A other) {
  return other > guide || other != other ? other : guide;
}

// Where there is no object nothing is left to cover: the free share is that of the object. Takes e^-|guide|.
template <typename A>
LDIE_HD A guided_coverage(A coverage, A guide, A exp_minus_abs_guide) {
  return A(1) - logistic(guide, exp_minus_abs_guide).p * (A(1) - coverage);
}

template <typename T>
struct PyramidSpawn {
  using A = acc_t<T>;

  const T* coverage;  // [batch, area]
  const A* guide;     // [batch, classes, area], or null
  int64_t classes;
  Births<A> births;
};

template <typename T>
void pyramid_spawn(const PyramidSpawn<T>& args, Context& context);

}  // namespace ldie::pyramid
