// SPDX-License-Identifier: Apache-2.0
// Reads the logits of living slots once: 1.3 MB of 80 maps of 50 x 84. Per logit an exponential of some 20 instructions
// and 15 more: 12.5 M of them, or with 16 lanes and two of them a cycle 0.4 M cycles. So arithmetic decides. A tile's
// logits, two registers of each slot, are read three times, from the second on in the first-level cache.
#include <algorithm>
#include <cstring>

#include "core/instantiate.h"
#include "core/lane_shuffle_cpu.h"
#include "core/parallel_cpu.h"
#include "pyramid/pyramid_coverage.h"

namespace ldie::pyramid {
namespace {

constexpr int kMostRegisters = 2;  // two chains of instructions side by side
template <typename A>
constexpr int64_t kTileCells = kMostRegisters * kLanes<A>;

template <typename A>
struct Workspace {
  int64_t* living;  // [slots], of one image
  A* rows;          // [slots, kTileCells]
  bool* present;    // [batch, slots]
};

// What one thread finds. Tiles come image by image.
template <typename T, int K>
class Columns {
 public:
  using A = acc_t<T>;

  Columns(const PyramidCoverage<T>& args, const Workspace<A>& space) : args_(args), rule_(args.rule), space_(space) {
    std::fill(space.present, space.present + args.batch * args.slots, false);
  }

  void decide(int64_t image, int64_t first) {
    if (image != image_) enter(image);
    first_ = first;
    count_ = std::min(kTileCells<A>, args_.cells() - first);
    count_ > kLanes<A> ? decide_tile<2>() : decide_tile<1>();
  }

 private:
  // Numbers of a tile's cells, a register or two of each.
  template <int kRegisters>
  struct Cells {
    static constexpr int64_t kWidth = kRegisters * kLanes<A>;
    A values[kWidth];

    Lanes<A> lanes(int r) const { return load_lanes(values + r * kLanes<A>); }
    void set(int r, const Lanes<A>& lanes) { std::memcpy(values + r * kLanes<A>, &lanes, sizeof lanes); }
  };

  void enter(int64_t image) {
    image_ = image;
    const bool* const alive = args_.alive + image * args_.slots;
    int64_t count = 0;
    for (int group = 0; group < kSlotGroups; ++group) {
      const SlotRange slots = args_.group(group);
      for (int64_t slot = slots.begin; slot < slots.end; ++slot) {
        if (alive[slot]) space_.living[count++] = slot;
      }
      ends_[group] = count;
    }
  }

  template <int kRegisters>
  void decide_tile() {
    using Tile = Cells<kRegisters>;
    A* const coverage = args_.coverage + image_ * args_.cells() + first_;
    Tile inside{};
    if (!find_inside(inside.values)) {
      std::fill(coverage, coverage + count_, A(1));
      return;
    }
    Tile greatest, limits, rooms, shifts, shares, totals{};
    read(greatest, limits, rooms);
    for (int r = 0; r < kRegisters; ++r) {
      limits.set(r, inside.lanes(r) > A(0) ? limits.lanes(r) : all_lanes(kInfinite<A>));
      shifts.set(r, rule_.shift(greatest.lanes(r)));
    }
    if (rule_.mode == ShareMode::kSoftmax) add_up(shifts, totals);
    find_present(limits, rooms, shifts, totals);
    for (int64_t i = 0; i < Tile::kWidth; ++i) {
      shares.values[i] = rule_.coverage(greatest.values[i], {shifts.values[i], totals.values[i]});
    }
    for (int64_t i = 0; i < count_; ++i) coverage[i] = inside.values[i] > A(0) ? shares.values[i] : A(1);
  }

  // 1 for the tile's cells that count; whether there are any.
  bool find_inside(A* inside) const {
    bool any = false;
    for (int64_t i = 0, y = first_ / args_.width, x = first_ % args_.width; i < count_; ++i) {
      const bool counts = args_.is_inside(image_, y, x);
      inside[i] = A(counts);
      any |= counts;
      if (++x == args_.width) x = 0, ++y;
    }
    return any;
  }

  // The tile's logits into rows, and what is largest of each cell.
  template <int kRegisters>
  void read(Cells<kRegisters>& greatest, Cells<kRegisters>& limits, Cells<kRegisters>& rooms) {
    using Top = TopLogits<A, K, Lanes<A>>;
    constexpr int64_t kWidth = Cells<kRegisters>::kWidth;
    Top tops[2] = {Top(args_.top_k), Top(args_.top_k)};
    T padded[kWidth] = {};
    for (int64_t i = 0; i < ends_[kSlotGroups - 1]; ++i) {
      const T* from = args_.logits + (image_ * args_.slots + space_.living[i]) * args_.cells() + first_;
      __builtin_prefetch(from + kWidth);  // the next tile's, which in a large map is far from other slots'
      __builtin_prefetch(from + kWidth + kLanes<A>);
      if (count_ < kWidth) from = static_cast<T*>(std::memcpy(padded, from, size_t(count_) * sizeof(T)));
      for (int r = 0; r < kRegisters; ++r) {
        const Lanes<A> logit = claimed_logit<A>(load_wide(from + r * kLanes<A>));
        std::memcpy(space_.rows + i * kWidth + r * kLanes<A>, &logit, sizeof logit);
        tops[r].insert(logit);
      }
    }
    for (int r = 0; r < kRegisters; ++r) {
      const Claims<Lanes<A>> claims = tops[r].claims();
      greatest.set(r, tops[r].greatest());
      limits.set(r, claims.limit);
      rooms.set(r, claims.room);
    }
  }

  template <int kRegisters>
  void add_up(const Cells<kRegisters>& shifts, Cells<kRegisters>& totals) const {
    constexpr int64_t kWidth = Cells<kRegisters>::kWidth;
    A sums[kWidth] = {};
    for (int64_t group = 0, i = 0; group < kSlotGroups; ++group) {
      A of_group[kWidth] = {};
      for (; i < ends_[group]; ++i) {
        const A* const row = space_.rows + i * kWidth;
        for (int64_t j = 0; j < kWidth; ++j) of_group[j] += fast_exp(row[j] - shifts.values[j]);
      }
      for (int64_t j = 0; j < kWidth; ++j) sums[j] += of_group[j];
    }
    for (int64_t j = 0; j < kWidth; ++j) totals.values[j] = rule_.total(sums[j], shifts.values[j]);
  }

  template <int kRegisters>
  void find_present(const Cells<kRegisters>& limits, const Cells<kRegisters>& rooms, const Cells<kRegisters>& shifts,
                    const Cells<kRegisters>& totals) const {
    constexpr int64_t kWidth = Cells<kRegisters>::kWidth;
    bool* const present = space_.present + image_ * args_.slots;
    Claims<Lanes<A>> claims[kRegisters];
    for (int r = 0; r < kRegisters; ++r) claims[r] = {limits.lanes(r), rooms.lanes(r)};
    for (int64_t i = 0; i < ends_[kSlotGroups - 1]; ++i) {
      const A* const row = space_.rows + i * kWidth;
      for (int r = 0; r < kRegisters; ++r) {
        const auto taken = claims[r].take(load_lanes(row + r * kLanes<A>));
        bool& found = present[space_.living[i]];
        if (found || !any_lane(taken)) continue;
        for (int64_t lane = 0; lane < kLanes<A>; ++lane) {
          const int64_t j = r * kLanes<A> + lane;
          found |= taken[lane] != 0 && rule_.is_enough(row[j], {shifts.values[j], totals.values[j]});
        }
      }
    }
  }

  const PyramidCoverage<T>& args_;
  const ShareRule<A> rule_;
  const Workspace<A> space_;
  int64_t image_ = -1, first_ = 0, count_ = 0;
  int64_t ends_[kSlotGroups] = {};  // of the groups among the living
};

template <int K, typename T>
void find_coverage(const PyramidCoverage<T>& args, Context& context) {
  using A = acc_t<T>;
  constexpr int64_t kLogitsPerTask = 1 << 13, kLogitsPerWorker = 1 << 15;
  const int64_t tiles = ceil_div(args.cells(), kTileCells<A>), slots = args.slots, all = args.batch * slots;
  const int64_t per_task = ceil_div(kLogitsPerTask, (slots + 1) * kTileCells<A>);
  const int64_t tasks = ceil_div(args.batch * tiles, per_task);
  const int64_t workers = std::max<int64_t>(1, std::min(num_threads(), all * args.cells() / kLogitsPerWorker));
  int64_t* const living = context.scratch_array<int64_t>(workers * slots);
  A* const rows = context.scratch_array<A>(workers * slots * kTileCells<A>);
  bool* const present = context.scratch_array<bool>(workers * all);
  parallel_workers(workers, [&](const auto& next, int64_t worker) {
    Columns<T, K> columns(args,
                          {living + worker * slots, rows + worker * slots * kTileCells<A>, present + worker * all});
    for (int64_t task = next(); task < tasks; task = next()) {
      const int64_t end = std::min((task + 1) * per_task, args.batch * tiles);
      for (int64_t tile = task * per_task; tile < end; ++tile) {
        columns.decide(tile / tiles, tile % tiles * kTileCells<A>);
      }
    }
  });
  for (int64_t i = 0; i < all; ++i) {
    bool any = false;
    for (int64_t worker = 0; worker < workers; ++worker) any |= present[worker * all + i];
    args.present[i] = any;
  }
  for (int64_t i = 0; args.places.given() && i < all; ++i) args.responses[i] = args.response(i);
}

}  // namespace

template <typename T>
void pyramid_coverage(const PyramidCoverage<T>& args, Context& context) {
  args.top_k <= kUsualTop ? find_coverage<kUsualTop>(args, context) : find_coverage<kMostTop>(args, context);
}

LDIE_INSTANTIATE(pyramid_coverage, PyramidCoverage);

}  // namespace ldie::pyramid
