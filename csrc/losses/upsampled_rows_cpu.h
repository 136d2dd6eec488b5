// SPDX-License-Identifier: Apache-2.0
// CPU: rows of upsampled maps and of their targets, as they are needed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/integers.h"
#include "core/tiles_cpu.h"
#include "losses/dice_cpu.h"
#include "losses/gather_upsample_dice.h"
#include "losses/lane_taps_cpu.h"

namespace ldie::losses {

// Packed pixels as numbers, written up to a whole register.
template <typename A>
void spread_bits(const uint8_t* bytes, int64_t count, A* t) {
  using Index = LaneIndex<A>;
  Lanes<Index> place;
  for (int64_t lane = 0; lane < kLanes<A>; ++lane) place[lane] = Index(lane);
  for (int64_t x = 0; x < count; x += kLanes<A>) {
    Index bits = bytes[x / 8] >> x % 8;
    if (kLanes<A> > 8 && x + 8 < count) bits |= Index(bytes[x / 8 + 1]) << 8;
    const Lanes<Index> pixels = (all_lanes(bits) >> place) & Index(1);
    store_lanes(t + x, pixels, kLanes<A>);
  }
}

// A row of targets, written up to a whole register.
template <typename T>
void load_targets(const UpsampledDice<T>& maps, int64_t target, int64_t y, acc_t<T>* t) {
  const int64_t width = maps.horizontal.out;
  if (maps.soft != nullptr) {
    std::copy_n(maps.soft + (target * maps.vertical.out + y) * width, width, t);
    return;
  }
  const uint8_t* const row = maps.masks.mask(target) + y * maps.masks.row_bytes();
  if (maps.masks.packed()) {
    spread_bits(row, width, t);
  } else {
    std::copy_n(row, width, t);
  }
}

// Memory of a worker, cut into arrays that start on whole registers.
template <typename A>
class Bench {
 public:
  explicit Bench(A* memory) : next_(memory) {}

  static constexpr int64_t length(int64_t count) { return round_up(count, kLanes<A>); }
  A* take(int64_t count) {
    A* const array = next_;
    next_ += length(count);
    return array;
  }

 private:
  A* next_;
};

// What all rows of all maps share, read only.
template <typename A>
struct UpsampleTables {
  std::vector<UpsampleTap<A>> vertical, horizontal;
  LaneTaps<A> along;

  UpsampleTables(const UpsampleAxis& rows, const UpsampleAxis& columns)
      : vertical(sample_taps<A>(rows)), horizontal(sample_taps<A>(columns)), along(upsampling_taps(horizontal)) {}
};

// Rows of one upsampled map in rising order: each row of logits is upsampled along itself once, and kept for the few
// rows that lie beside it.
template <typename T>
class UpsampledRows {
 public:
  using A = acc_t<T>;

  static int64_t scratch(const UpsampledDice<T>& maps, const UpsampleTables<A>& tables) {
    return Bench<A>::length(maps.width()) + Bench<A>::length(maps.width() + tables.along.padding()) +
           2 * Bench<A>::length(maps.horizontal.out);
  }

  // The bench's memory is zero.
  UpsampledRows(const UpsampledDice<T>& maps, const UpsampleTables<A>& tables, Bench<A>& bench)
      : maps_(maps),
        tables_(tables),
        logits_(bench.take(maps.width())),
        source_(bench.take(maps.width() + tables.along.padding())),
        upsampled_{bench.take(maps.horizontal.out), bench.take(maps.horizontal.out)} {}

  void start(int64_t cell) {
    cell_ = cell;
    held_[0] = held_[1] = -1;
  }

  // Row `sample` of the map, of logits or of probabilities.
  void read(int64_t sample, A* v) {
    const UpsampleTap<A> tap = tables_.vertical[size_t(sample)];
    const A* const upper = upsampled(tap.first);
    const A* const lower = upsampled(std::min(tap.first + 1, maps_.height() - 1));
    for (int64_t x = 0; x < maps_.horizontal.out; ++x) v[x] = tap.between(upper[x], lower[x]);
  }

  // Row y of the logits.
  void load(int64_t y, A* x) const {
    const T* const from = maps_.logits.row(cell_, y);
    const int64_t stride = maps_.logits.stride_x;
    if (stride == 1) {
      std::copy_n(from, maps_.width(), x);
    } else {
      for (int64_t i = 0; i < maps_.width(); ++i) x[i] = A(from[i * stride]);
    }
  }

 private:
  const A* upsampled(int64_t y) {
    const size_t place = size_t(y % 2);
    if (held_[place] == y) return upsampled_[place];
    held_[place] = y;
    load(y, maps_.sigmoid_first ? logits_ : source_);
    for (int64_t x = 0; maps_.sigmoid_first && x < maps_.width(); x += kTile) {
      probabilities(logits_ + x, std::min(kTile, maps_.width() - x), source_ + x);
    }
    tables_.along.apply(source_, upsampled_[place]);
    return upsampled_[place];
  }

  const UpsampledDice<T>& maps_;
  const UpsampleTables<A>& tables_;
  A *logits_, *source_, *upsampled_[2];
  int64_t cell_ = 0, held_[2] = {-1, -1};
};

// Some rows of a map and its targets side by side, as one piece for the loops over pixels.
template <typename T>
class UpsampledTile {
 public:
  using A = acc_t<T>;

  static int64_t rows(const UpsampledDice<T>& maps) { return std::max<int64_t>(1, kTile / maps.horizontal.out); }
  static int64_t scratch(const UpsampledDice<T>& maps, const UpsampleTables<A>& tables) {
    return UpsampledRows<T>::scratch(maps, tables) + 2 * length(maps);
  }

  UpsampledTile(const UpsampledDice<T>& maps, const UpsampleTables<A>& tables, Bench<A>& bench)
      : source(maps, tables, bench), v(bench.take(length(maps))), t(bench.take(length(maps))), maps_(maps) {}

  void start(int64_t slot) {
    source.start(maps_.slots.cell(slot));
    target_ = maps_.slots.row(slot);
  }

  // Returns the number of pixels in rows [begin, end).
  int64_t read(int64_t begin, int64_t end) {
    const int64_t width = maps_.horizontal.out;
    for (int64_t y = begin; y < end; ++y) {
      source.read(y, v + (y - begin) * width);
      load_targets(maps_, target_, y, t + (y - begin) * width);
    }
    return (end - begin) * width;
  }

  UpsampledRows<T> source;
  A *const v, *const t;

 private:
  static int64_t length(const UpsampledDice<T>& maps) {
    return Bench<A>::length(rows(maps) * maps.horizontal.out) + kLanes<A>;
  }

  const UpsampledDice<T>& maps_;
  int64_t target_ = 0;
};

}  // namespace ldie::losses
