// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "core/instantiate.h"
#include "core/limits.h"
#include "core/parallel_cpu.h"
#include "core/radix_sort_cpu.h"
#include "suppression/nms.h"
#include "suppression/soft_nms.h"

namespace ldie::suppression {
namespace {

// Rows group by group, in the order of the input within each.
struct Groups {
  std::vector<uint32_t> rows;
  std::vector<int64_t> starts;  // and the end
};

template <typename T>
Groups group_rows(const SoftNms<T>& args, Context& context) {
  auto* items = context.scratch_array<Keyed<uint64_t>>(args.count);
  for (int64_t i = 0; i < args.count; ++i) items[i] = {args.groups ? uint64_t(args.groups[i]) : 0, uint32_t(i)};
  items = radix_sort(items, context.scratch_array<Keyed<uint64_t>>(args.count), args.count);
  Groups groups;
  groups.rows.resize(size_t(args.count));
  for (int64_t i = 0; i < args.count; ++i) {
    groups.rows[i] = items[i].index;
    if (i == 0 || items[i].key != items[i - 1].key) groups.starts.push_back(i);
  }
  groups.starts.push_back(args.count);
  return groups;
}

// The boxes of a group that are still in the race, a number of each side by side so that loops over them vectorise.
template <typename A>
class Race {
 public:
  explicit Race(const SoftNmsRule<A>& rule) : rule_(rule) {}

  template <typename T>
  void load(const SoftNms<T>& args, const uint32_t* rows, int64_t count) {
    for (auto* values : {&x1_, &y1_, &x2_, &y2_, &areas_, &scores_}) values->resize(size_t(count));
    rows_.assign(rows, rows + count);
    for (int64_t i = 0; i < count; ++i) {
      const Box<A> box = load_box(args.boxes, rows[i]);
      x1_[i] = box.x1, y1_[i] = box.y1, x2_[i] = box.x2, y2_[i] = box.y2;
      areas_[i] = box_area(box);
      scores_[i] = A(args.scores[rows[i]]);
    }
  }

  // Selects boxes until none is left; `lowered[row]` becomes the score of each row selected.
  template <Decay kDecay>
  void run(A* lowered) {
    int64_t live = int64_t(rows_.size());
    while (live > 0) {
      const A highest = highest_score(live);
      const auto place = std::find(scores_.begin(), scores_.begin() + live, highest) - scores_.begin();
      if (place == live) break;  // only NaN and -inf are left
      lowered[rows_[place]] = highest;
      scores_[place] = kOut<A>;
      if (lower<kDecay>(place, live) * 4 < live * 3) live = compact(live);
    }
  }

 private:
  // In lanes, as the compiler vectorises it; NaN is passed over.
  A highest_score(int64_t live) const {
    constexpr int64_t kLanes = 16;
    A lanes[kLanes];
    std::fill(lanes, lanes + kLanes, -kInfinite<A>);
    const A* const scores = scores_.data();
    int64_t i = 0;
    for (; i + kLanes <= live; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = std::max(lanes[lane], scores[i + lane]);
    }
    for (; i < live; ++i) lanes[0] = std::max(lanes[0], scores[i]);
    const A highest = *std::max_element(lanes, lanes + kLanes);
    return highest > -kInfinite<A> ? highest : kOut<A>;
  }

  // Lowers all scores by their overlap with the box selected; returns how many are left.
  template <Decay kDecay>
  int64_t lower(int64_t selected, int64_t live) {
    const A *const x1 = x1_.data(), *const y1 = y1_.data(), *const x2 = x2_.data(), *const y2 = y2_.data();
    const A* const areas = areas_.data();
    A* const scores = scores_.data();
    const Box<A> by{x1[selected], y1[selected], x2[selected], y2[selected]};
    const A area = areas[selected];
    const SoftNmsRule<A> rule = rule_;
#pragma GCC ivdep
    for (int64_t i = 0; i < live; ++i) {
      scores[i] = rule.template lowered<kDecay>(scores[i], {x1[i], y1[i], x2[i], y2[i]}, areas[i], by, area);
    }
    int32_t left = 0;
    for (int64_t i = 0; i < live; ++i) left += scores[i] == scores[i];
    return left;
  }

  // Closes the gaps that boxes out of the race leave; the order stays.
  int64_t compact(int64_t live) {
    int64_t left = 0;
    for (int64_t i = 0; i < live; ++i) {
      if (scores_[i] != scores_[i]) continue;
      for (auto* values : {&x1_, &y1_, &x2_, &y2_, &areas_, &scores_}) (*values)[left] = (*values)[i];
      rows_[left++] = rows_[i];
    }
    return left;
  }

  SoftNmsRule<A> rule_;
  std::vector<uint32_t> rows_;
  std::vector<A> x1_, y1_, x2_, y2_, areas_, scores_;
};

// The rows with a score, by descending score; equal ones in the order of the input.
template <typename T>
void write_kept(const SoftNms<T>& args, const acc_t<T>* lowered, Context& context) {
  using Key = score_key_t<acc_t<T>>;
  auto* items = context.scratch_array<Keyed<Key>>(args.count);
  int64_t count = 0;
  for (int64_t i = 0; i < args.count; ++i) {
    if (lowered[i] == lowered[i]) items[count++] = {score_key(lowered[i]), uint32_t(i)};
  }
  items = radix_sort(items, context.scratch_array<Keyed<Key>>(args.count), count);
  for (int64_t i = 0; i < count; ++i) {
    args.kept_rows[i] = items[i].index;
    args.kept_scores[i] = T(lowered[items[i].index]);
  }
  *args.kept = count;
}

}  // namespace

// A box selected reads and writes the scores of its group that are left and reads their boxes: 28 bytes and some 25
// flops for each (float32), so that n boxes cost about n^2 / 2 of them.
template <typename T>
void soft_nms(const SoftNms<T>& args, Context& context) {
  using A = acc_t<T>;
  const Groups groups = group_rows(args, context);
  A* const lowered = context.scratch_array<A>(args.count);
  std::fill(lowered, lowered + args.count, kOut<A>);
  dispatch_decay(args.decay, [&](auto decay) {
    parallel_tasks(int64_t(groups.starts.size()) - 1, [&](const auto& next) {
      Race<A> race(args.rule());
      for (int64_t g = next(); g + 1 < int64_t(groups.starts.size()); g = next()) {
        race.load(args, &groups.rows[groups.starts[g]], groups.starts[g + 1] - groups.starts[g]);
        race.template run<decltype(decay)::value>(lowered);
      }
    });
  });
  write_kept(args, lowered, context);
}

LDIE_INSTANTIATE(soft_nms, SoftNms);

}  // namespace ldie::suppression
