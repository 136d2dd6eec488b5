// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/tiles_cpu.h"
#include "losses/dice_cpu.h"
#include "losses/gather_upsample_dice.h"
#include "losses/lane_taps_cpu.h"
#include "losses/upsampled_rows_cpu.h"

namespace ldie::losses {
namespace {

// Calls body(bench, next) in each worker, which has `length` zeros of its own.
template <typename A, typename Body>
void with_benches(Context& context, int64_t tasks, int64_t length, const Body& body) {
  const int64_t workers = std::min(num_threads(), tasks), apart = round_up(length, kLanes<A>);
  A* const memory = context.scratch_array<A>(workers * apart);
  std::fill_n(memory, workers * apart, A(0));
  parallel_workers(workers, [&](const auto& next, int64_t worker) {
    Bench<A> bench(memory + worker * apart);
    body(bench, next);
  });
}

// Of rows [begin, end) of an upsampled map.
template <typename T>
DiceSums sums_of_rows(const UpsampledDice<T>& maps, UpsampledTile<T>& tile, int64_t begin, int64_t end) {
  using A = acc_t<T>;
  A p[kTile];
  DiceSums sums{};
  const int64_t step = UpsampledTile<T>::rows(maps);
  for (int64_t y = begin; y < end; y += step) {
    const int64_t pixels = tile.read(y, std::min(y + step, end));
    for (int64_t i = 0; i < pixels; i += kTile) {
      const int64_t count = std::min(kTile, pixels - i);
      if (!maps.sigmoid_first) probabilities(tile.v + i, count, p);
      sums += dice_sums(maps.sigmoid_first ? tile.v + i : p, tile.t + i, count);
    }
  }
  return sums;
}

// The gradient of rows of one cell, from slots that name it.
template <typename T>
class CellGradient {
 public:
  using A = acc_t<T>;

  static int64_t scratch(const UpsampledDice<T>& maps, const UpsampleTables<A>& tables, const LaneTaps<A>& back,
                         int64_t rows) {
    return UpsampledTile<T>::scratch(maps, tables) + 2 * Bench<A>::length(maps.horizontal.out + back.padding()) +
           2 * Bench<A>::length(maps.width()) + Bench<A>::length(rows * maps.width());
  }

  CellGradient(const GatherUpsampleDiceBackward<T>& args, const UpsampleTables<A>& tables, const LaneTaps<A>& back,
               int64_t rows, Bench<A>& bench)
      : args_(args),
        maps_(args.maps),
        tables_(tables),
        back_(back),
        tile_(args.maps, tables, bench),
        between_{bench.take(maps_.horizontal.out + back.padding()), bench.take(maps_.horizontal.out + back.padding())},
        along_(bench.take(maps_.width())),
        logits_(bench.take(maps_.width())),
        gradient_(bench.take(rows * maps_.width())) {}

  // Rows [begin, end) of a cell.
  void start(int64_t begin, int64_t end) {
    begin_ = begin;
    end_ = end;
    std::fill_n(gradient_, (end - begin) * maps_.width(), A(0));
  }

  void add(int64_t slot) {
    const DiceSlope<A> slope = args_.slope(slot);
    const int64_t first = maps_.vertical.first_sample(begin_ - 1), last = maps_.vertical.first_sample(end_);
    const int64_t step = UpsampledTile<T>::rows(maps_);
    tile_.start(slot);
    clear(0);
    clear(1);
    int64_t open = begin_ - 1;  // and the row behind it
    for (int64_t y = first; y < last; y += step) {
      const int64_t end = std::min(y + step, last), pixels = tile_.read(y, end);
      for (int64_t i = 0; i < pixels; i += kTile) slopes(slope, i, std::min(kTile, pixels - i));
      for (int64_t sample = y; sample < end; ++sample) {
        for (; open < tables_.vertical[size_t(sample)].first; ++open) close(open);
        add_row(tables_.vertical[size_t(sample)], tile_.v + (sample - y) * maps_.horizontal.out);
      }
    }
    for (; open < end_; ++open) close(open);
  }

  void store(int64_t cell) const {
    std::copy_n(gradient_, (end_ - begin_) * maps_.width(),
                args_.grad_logits + (cell * maps_.height() + begin_) * maps_.width());
  }

 private:
  A* between(int64_t row) const { return between_[row & 1]; }
  void clear(int64_t row) { std::fill_n(between(row), maps_.horizontal.out, A(0)); }

  // Pixels of the tile become the loss's slopes in them.
  void slopes(const DiceSlope<A>& slope, int64_t begin, int64_t count) {
    A e[kTile];
    A* const v = tile_.v + begin;
    const A* const t = tile_.t + begin;
    if (maps_.sigmoid_first) {
      for (int64_t i = 0; i < count; ++i) v[i] = slope.of_probability(v[i], t[i]);
    } else {
      exp_minus_abs(v, count, e);
      for (int64_t i = 0; i < count; ++i) v[i] = slope.of_logit(v[i], t[i], e[i]);
    }
  }

  void add_row(const UpsampleTap<A>& tap, const A* slopes) {
    A *const upper = between(tap.first), *const lower = between(tap.first + 1);
    for (int64_t x = 0; x < maps_.horizontal.out; ++x) {
      upper[x] += tap.low * slopes[x];
      lower[x] += tap.high * slopes[x];
    }
  }

  // A row that no further sample taps.
  void close(int64_t row) {
    if (row >= begin_ && row < end_) {
      const int64_t width = maps_.width();
      back_.apply(between(row), along_);
      if (maps_.sigmoid_first) multiply_with_slope_of_sigmoid(row);
      A* const sum = gradient_ + (row - begin_) * width;
      for (int64_t x = 0; x < width; ++x) sum[x] += along_[x];
    }
    clear(row);
  }

  void multiply_with_slope_of_sigmoid(int64_t row) {
    tile_.source.load(row, logits_);
    for (int64_t x = 0; x < maps_.width(); ++x) {
      const Logistic<A> s = logistic(logits_[x], exp_minus_abs(logits_[x]));
      along_[x] *= s.p * s.q;
    }
  }

  const GatherUpsampleDiceBackward<T>& args_;
  const UpsampledDice<T>& maps_;
  const UpsampleTables<A>& tables_;
  const LaneTaps<A>& back_;
  UpsampledTile<T> tile_;
  A *between_[2], *along_, *logits_, *gradient_;
  int64_t begin_ = 0, end_ = 0;
};

// Slots that name the same cell, in their order.
struct SlotChains {
  std::vector<int64_t> first_of_cell, next, heads;  // -1: none

  explicit SlotChains(const DiceSlots& slots)
      : first_of_cell(size_t(slots.cell_count), -1), next(size_t(slots.count), -1) {
    for (int64_t slot = slots.count - 1; slot >= 0; --slot) {
      if (!slots(slot)) continue;
      int64_t& first = first_of_cell[size_t(slots.cell(slot))];
      next[size_t(slot)] = first;
      first = slot;
    }
    for (const int64_t first : first_of_cell) {
      if (first >= 0) heads.push_back(first);
    }
  }
};

template <typename T>
void clear_unnamed(const GatherUpsampleDiceBackward<T>& args, const SlotChains& chains) {
  constexpr int64_t kElementsPerTask = 1 << 16;
  const int64_t area = args.maps.height() * args.maps.width();
  parallel_for(args.maps.slots.cell_count, kElementsPerTask / area + 1, [&](int64_t begin, int64_t end) {
    for (int64_t cell = begin; cell < end; ++cell) {
      if (chains.first_of_cell[size_t(cell)] < 0) std::fill_n(args.grad_logits + cell * area, area, T(0));
    }
  });
}

}  // namespace

// Reads the logits of the slots and their targets, 4 + 4 / 8 bytes for each 4 pixels of a map upsampled twofold, and
// computes some 35 flops for each pixel: arithmetic is the floor.
template <typename T>
void gather_upsample_dice(const GatherUpsampleDice<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr int64_t kTilesPerTask = 16;  // part of the result: where sums go on in double
  const UpsampledDice<T>& maps = args.maps;
  const UpsampleTables<A> tables(maps.vertical, maps.horizontal);
  const int64_t rows = kTilesPerTask * UpsampledTile<T>::rows(maps), bands = ceil_div(maps.vertical.out, rows);
  const int64_t tasks = maps.slots.count * bands;
  DiceSums* const sums = context.scratch_array<DiceSums>(tasks);
  with_benches<A>(context, tasks, UpsampledTile<T>::scratch(maps, tables), [&](Bench<A>& bench, const auto& next) {
    UpsampledTile<T> tile(maps, tables, bench);
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t slot = task / bands, begin = task % bands * rows;
      sums[task] = {};
      if (!maps.slots(slot)) continue;
      tile.start(slot);
      sums[task] = sums_of_rows(maps, tile, begin, std::min(begin + rows, maps.vertical.out));
    }
  });
  *args.scale = finish_dice(args.rows, maps.slots, bands, sums);
}

// The same reads, some 45 flops a pixel, and a write of the gradient, which is the floor where few rows are named.
// A task has a cell, or some of its rows where cells are few; what it leaves does not depend on which.
template <typename T>
void gather_upsample_dice_backward(const GatherUpsampleDiceBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr int64_t kTasksPerThread = 4, kLeastRows = 16;
  const UpsampledDice<T>& maps = args.maps;
  const SlotChains chains(maps.slots);
  if (!args.zeroed) clear_unnamed(args, chains);
  const UpsampleTables<A> tables(maps.vertical, maps.horizontal);
  const LaneTaps<A> back = transposed_taps(maps.horizontal, tables.horizontal);
  const int64_t cells = int64_t(chains.heads.size()), height = maps.height();
  const int64_t share = ceil_div(height * cells, kTasksPerThread * num_threads());
  const int64_t rows = std::min(std::max(share, kLeastRows), height), bands = ceil_div(height, rows);
  const int64_t tasks = cells * bands, length = CellGradient<T>::scratch(maps, tables, back, rows);
  with_benches<A>(context, tasks, length, [&](Bench<A>& bench, const auto& next) {
    CellGradient<T> gradient(args, tables, back, rows, bench);
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t head = chains.heads[size_t(task / bands)], begin = task % bands * rows;
      gradient.start(begin, std::min(begin + rows, height));
      for (int64_t slot = head; slot >= 0; slot = chains.next[size_t(slot)]) gradient.add(slot);
      gradient.store(maps.slots.cell(head));
    }
  });
}

LDIE_INSTANTIATE(gather_upsample_dice, GatherUpsampleDice);
LDIE_INSTANTIATE(gather_upsample_dice_backward, GatherUpsampleDiceBackward);

}  // namespace ldie::losses
