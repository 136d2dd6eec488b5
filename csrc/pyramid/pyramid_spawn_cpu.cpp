// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "boxes/smallest_cpu.h"
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "core/tiles_cpu.h"
#include "pyramid/pyramid_spawn.h"

namespace ldie::pyramid {
namespace {

constexpr int64_t kGroups = 512;

// Calls visit(first, count, values) for tiles of kGroups cells, the last of which may have fewer.
template <typename T, typename Visitor>
void visit_tiles(const T* coverage, int64_t area, const Visitor& visit) {
  acc_t<T> converted[kGroups];
  for (int64_t first = 0; first < area; first += kGroups) {
    const int64_t count = std::min(kGroups, area - first);
    visit(first, count, load_tile(coverage + first, count, converted));
  }
}

// What a first pass over the cells of an image finds. Every kGroups-th cell belongs to one group: neighbours, which are
// much alike, to different ones.
template <typename A>
struct Survey {
  int64_t low = 0, open = 0;
  A least[kGroups];  // of each group; NaN is passed over

  Survey() { std::fill_n(least, kGroups, kInfinite<A>); }

  void add(const A* values, int64_t count, A threshold) {
    int32_t lower = 0, lower_than_1 = 0;
    for (int64_t i = 0; i < count; ++i) {
      lower += values[i] < threshold;
      lower_than_1 += values[i] < A(1);
      least[i] = values[i] < least[i] ? values[i] : least[i];
    }
    low += lower;
    open += lower_than_1;
  }

  // A value that at least `wanted` cells do not exceed, because the least ones of as many groups do not, and few
  // others.
  A bound(int64_t wanted) const {
    constexpr int kBits = 16;  // of a key: all but the end of the mantissa
    Key<A> keys[kGroups], last = Key<A>(~Key<A>(0));
    for (int64_t i = 0; i < kGroups; ++i) keys[i] = rising_key(least[i]);
    for (int bit = 1; bit <= kBits; ++bit) {
      const Key<A> lower = last ^ Key<A>(1) << (8 * int(sizeof(Key<A>)) - bit);
      int32_t reached = 0;
      for (int64_t i = 0; i < kGroups; ++i) reached += keys[i] <= lower;
      if (reached >= wanted) last = lower;
      if (reached == wanted) break;
    }
    A bound = -kInfinite<A>;
    for (int64_t i = 0; i < kGroups; ++i) bound = keys[i] <= last && least[i] > bound ? least[i] : bound;
    return bound;
  }
};

// Offers the cells that do not exceed the bound, until as many are known as are wanted; then lower ones only.
template <typename T, typename Order>
void offer_cells(const T* coverage, int64_t area, acc_t<T> bound, boxes::Smallest<Order>& best) {
  using A = acc_t<T>;
  Order last = best.bound();
  visit_tiles(coverage, area, [&](int64_t first, int64_t count, const A* values) {
    const auto offer = [&](int64_t i) {
      if (values[i] <= bound) best.offer(boxes::order_of(rising_key(values[i]), first + i));
    };
    int64_t i = 0;
    for (; i + kLanes<A> <= count; i += kLanes<A>) {
      if (!any_lane(load_lanes(values + i) <= all_lanes(bound))) continue;
      for (int64_t lane = 0; lane < kLanes<A>; ++lane) offer(i + lane);
    }
    for (; i < count; ++i) offer(i);
    if (best.bound() == last) return;
    last = best.bound();  // of a cell before all that follow, which would have to be lower
    bound = std::nextafter(A(coverage[boxes::index_of(last)]), -kInfinite<A>);
  });
}

// Floor: guide and coverage are read once; an exponential of some 20 instructions a cell, and a comparison a class.
template <typename T>
void guide_image(const PyramidSpawn<T>& args, int64_t image, acc_t<T>* guided) {
  using A = acc_t<T>;
  const int64_t area = args.births.area;
  visit_tiles(args.coverage + image * area, area, [&](int64_t first, int64_t count, const A* coverage) {
    A greatest[kGroups], powers[kGroups];
    std::fill_n(greatest, kGroups, -kInfinite<A>);
    for (int64_t k = 0; k < args.classes; ++k) {
      const A* const guide = args.guide + (image * args.classes + k) * area + first;
      for (int64_t i = 0; i < count; ++i) greatest[i] = greater_guide(greatest[i], guide[i]);
    }
    exp_minus_abs(greatest, count, powers);
    for (int64_t i = 0; i < count; ++i) guided[first + i] = guided_coverage(coverage[i], greatest[i], powers[i]);
  });
}

// Floor: the coverage is read once, and again from the cache where cells are taken; three operations a cell.
template <typename T>
void spawn_image(const T* coverage, const Births<acc_t<T>>& births, int64_t image) {
  using A = acc_t<T>;
  constexpr int64_t kGroupsPerCell = 3;  // with fewer the bound is worth little
  const uint8_t* const alive = births.alive + image * births.slots;
  Survey<A> survey;
  visit_tiles(coverage, births.area,
              [&](int64_t, int64_t count, const A* values) { survey.add(values, count, births.threshold); });
  const int64_t alive_slots = births.slots - std::count(alive, alive + births.slots, uint8_t(0));
  const int64_t taken = births.taken(alive_slots, survey.low, survey.open);

  boxes::Smallest<boxes::order_t<Key<A>>> best(taken);
  if (taken > 0) {
    A bound = taken <= survey.low ? births.threshold : A(1);
    if (taken * kGroupsPerCell <= kGroups && births.area >= 2 * kGroups) bound = std::min(bound, survey.bound(taken));
    offer_cells(coverage, births.area, bound, best);
  }
  int64_t place = image * births.capacity;
  for (const auto order : best.take_sorted()) births.put(place++, boxes::index_of(order));
  while (place < (image + 1) * births.capacity) births.leave(place++);
  births.counts[image] = taken;
}

}  // namespace

template <typename T>
void pyramid_spawn(const PyramidSpawn<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr int64_t kLeastCellsPerTask = 1 << 16;  // some 20 us
  const Births<A>& births = args.births;
  const bool is_guided = args.guide != nullptr;
  A* const guided = context.scratch_array<A>(is_guided ? births.batch * births.area : 0);
  const int64_t cells_per_image = births.area * (1 + args.classes) + 1;
  parallel_for(births.batch, 1 + kLeastCellsPerTask / cells_per_image, [&](int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      if (!is_guided) {
        spawn_image(args.coverage + image * births.area, births, image);
        continue;
      }
      A* const of_image = guided + image * births.area;
      guide_image(args, image, of_image);
      spawn_image<A>(of_image, births, image);
    }
  });
}

LDIE_INSTANTIATE(pyramid_spawn, PyramidSpawn);

}  // namespace ldie::pyramid
