// SPDX-License-Identifier: Apache-2.0
// The growth step of a mask pyramid, births: the least covered cells of each image begin hypotheses, as far as there is
// room. Cells below a threshold do, and besides these as many of the lowest as make up a wanted number.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"
#include "pyramid/selection.h"

namespace ldie::pyramid {

template <typename T>
struct PyramidSpawn {
  using A = acc_t<T>;

  const T* coverage;     // [batch, area]
  const uint8_t* alive;  // [batch, slots]
  int64_t batch, area, slots;
  int64_t capacity, max_alive, min_spawn;
  A threshold;
  int64_t* cells;   // [batch, capacity]; -1 in unused places
  int64_t* counts;  // [batch]

  // How many of an image's first cells are taken: the low ones, which are below the threshold, or, where these are
  // fewer than the least number, as many of the open ones, which are below 1; as far as there is room.
  LDIE_HD int64_t taken(int64_t alive_slots, int64_t low, int64_t open) const {
    const int64_t least = min_spawn < open ? min_spawn : open;
    const int64_t free = max_alive > alive_slots ? max_alive - alive_slots : 0;
    const int64_t wanted = low < least ? least : low, room = free < capacity ? free : capacity;
    return wanted < room ? wanted : room;
  }
};

template <typename T>
void pyramid_spawn(const PyramidSpawn<T>& args, Context& context);

}  // namespace ldie::pyramid
