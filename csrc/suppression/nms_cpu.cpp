// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "core/radix_sort_cpu.h"
#include "suppression/kept_grid_cpu.h"
#include "suppression/nms.h"

namespace ldie::suppression {
namespace {

template <typename Key>
Keyed<Key>* sorted(Keyed<Key>* items, int64_t count, Context& context) {
  return radix_sort(items, context.scratch_array<Keyed<Key>>(count), count);
}

// Rows by descending score. Floor: three radix passes of 8 bytes read and written a box.
template <typename T>
const uint32_t* rows_by_score(const Nms<T>& args, Context& context) {
  using Key = score_key_t<acc_t<T>>;
  auto* items = context.scratch_array<Keyed<Key>>(args.count);
  for (int64_t i = 0; i < args.count; ++i) items[i] = {score_key(acc_t<T>(args.scores[i])), uint32_t(i)};
  items = sorted(items, args.count, context);
  auto* const rows = context.scratch_array<uint32_t>(args.count);
  for (int64_t i = 0; i < args.count; ++i) rows[i] = items[i].index;
  return rows;
}

// The search's order: ranks (places in the order of scores) group by group, each group by itself by descending score.
struct Sequence {
  const uint32_t* ranks;        // [count], or null for the identity
  std::vector<int64_t> starts;  // of the groups, and the end
};

template <typename T>
Sequence group_by_group(const Nms<T>& args, const uint32_t* rows, Context& context) {
  if (args.groups == nullptr) return {nullptr, {0, args.count}};
  auto* items = context.scratch_array<Keyed<uint64_t>>(args.count);
  for (int64_t i = 0; i < args.count; ++i) items[i] = {uint64_t(args.groups[rows[i]]), uint32_t(i)};
  items = sorted(items, args.count, context);
  auto* const ranks = context.scratch_array<uint32_t>(args.count);
  Sequence sequence{ranks, {}};
  for (int64_t i = 0; i < args.count; ++i) {
    ranks[i] = items[i].index;
    if (i == 0 || items[i].key != items[i - 1].key) sequence.starts.push_back(i);
  }
  sequence.starts.push_back(args.count);
  return sequence;
}

}  // namespace

template <typename T>
void nms(const Nms<T>& args, Context& context) {
  using A = acc_t<T>;
  const uint32_t* const rows = rows_by_score(args, context);
  const Sequence sequence = group_by_group(args, rows, context);
  const uint32_t* const ranks = sequence.ranks;

  // Groups are independent; a range of places does the groups that start in it.
  auto* const boxes = context.scratch_array<Box<A>>(args.count);
  auto* const kept = context.scratch_array<uint8_t>(args.count);                  // by place in the sequence
  auto* const alive = ranks ? context.scratch_array<uint8_t>(args.count) : kept;  // by rank
  const bool one_group = sequence.starts.size() <= 2;
  const int64_t places_per_task = one_group ? args.count : 1 << 15;  // a millisecond or so
  const A threshold = threshold_floor<A>(args.iou_threshold);
  parallel_for(args.count, places_per_task, [&](int64_t begin, int64_t end) {
    const auto& starts = sequence.starts;
    KeptGrid<A> grid(threshold);
    for (auto start = std::lower_bound(starts.begin(), starts.end(), begin); *start < end; ++start) {
      const int64_t first = start[0], last = start[1];
      for (int64_t i = first; i < last; ++i) boxes[i] = load_box(args.boxes, rows[ranks ? ranks[i] : i]);
      grid.suppress(boxes + first, last - first, args.max_output, kept + first);
      if (ranks == nullptr) continue;
      for (int64_t i = first; i < last; ++i) alive[ranks[i]] = kept[i];
    }
  });

  int64_t count = 0;
  for (int64_t i = 0; i < args.count && count < args.max_output; ++i) {
    if (alive[i]) args.keep[count++] = int64_t(rows[i]);
  }
  *args.kept = count;
  std::fill(args.keep + count, args.keep + args.max_output, int64_t(-1));
}

LDIE_INSTANTIATE(nms, Nms);

}  // namespace ldie::suppression
