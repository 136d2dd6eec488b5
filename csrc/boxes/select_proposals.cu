// SPDX-License-Identifier: Apache-2.0
// All images and levels at once; a segment is a level of an image.
//   sort       the anchors by score, then, stably, by segment
//   decode     the best of each segment, into sequences of one length
//   search     all of them at once for overlaps (suppression/greedy_search.cuh)
//   write      each kept box to its rank among the image's kept, which binary searches in the other levels tell
// Memory is O(anchors) and 64 MiB at most for the search; nothing waits for the device. The floor besides the search is
// the sort: a 4-byte key and a 4-byte value an anchor, read and written in each of five passes. For 1 and 8 images of
// 268k anchors that is 5 and 40 us at a copy's speed on an H200; the passes take 51 and 127, of 149 and 369. The deltas
// are read for the candidates only.
#include "boxes/select_proposals.h"
#include "core/device_sort.cuh"
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/simt.cuh"
#include "suppression/greedy_search.cuh"

namespace ldie::boxes {
namespace {

using suppression::blocks_for;
using suppression::kThreads;

__device__ int level_of(const Levels& levels, int64_t item) {
  int level = 0;
  while (item >= levels.starts[level + 1]) ++level;
  return level;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    proposal_keys_kernel(SelectProposals<T> args, int64_t count, suppression::score_key_t<acc_t<T>>* keys,
                         uint32_t* rows) {
  const int64_t i = thread_index<kThreads>();
  if (i >= count) return;
  keys[i] = args.key(i);
  rows[i] = uint32_t(i);
}

__global__ void __launch_bounds__(kThreads)
    segments_kernel(Levels levels, const uint32_t* rows, int64_t count, uint32_t* segments) {
  const int64_t i = thread_index<kThreads>();
  if (i >= count) return;
  const int64_t image = rows[i] / levels.items(), anchor = rows[i] % levels.items();
  segments[i] = uint32_t(image * levels.count + level_of(levels, anchor));
}

// The best anchors of each segment, by descending score, and after them rejected ones up to the same number for all.
template <typename T>
struct Candidates {
  int64_t per_segment, per_image, count;
  uint32_t* rows;
  typename SelectProposals<T>::Key* keys;
  Box<acc_t<T>>* boxes;
};

// `sorted`: the rows, segment by segment. All lanes take part in the ballot.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    decode_kernel(SelectProposals<T> args, const uint32_t* sorted, Candidates<T> candidates, uint32_t* removed) {
  const int64_t i = thread_index<kThreads>();
  bool valid = false;
  if (i < candidates.count) {
    const int64_t segment = i / candidates.per_segment, rank = i % candidates.per_segment;
    const int64_t image = segment / args.levels.count;
    const int level = int(segment % args.levels.count);
    auto key = args.kRejected;
    Box<acc_t<T>> box{};
    if (rank < args.levels.size(level) && rank < args.pre_nms) {
      const int64_t first_row = image * args.anchors_per_image();
      const uint32_t row = sorted[first_row + args.levels.starts[level] + rank];
      key = args.key(row);
      box = args.proposal(image, row - first_row);
      candidates.rows[i] = row;
    }
    candidates.keys[i] = key;
    candidates.boxes[i] = box;
    valid = key != args.kRejected && args.is_large(box);
  }
  const uint32_t invalid = __ballot_sync(kFullWarp, !valid);
  if (i < candidates.count && i % kWarpSize == 0) removed[i / kWarpSize] = invalid;
}

// How many candidates up to each are kept, itself included.
struct KeptSums {
  const uint32_t* sums;

  __device__ int64_t before(int64_t i) const { return i > 0 ? sums[i - 1] : 0; }
  __device__ bool kept(int64_t i) const { return before(i) < sums[i]; }
};

// The first of the rising keys in [begin, end) that is not below `key`, or, if `after`, that is above.
template <typename Key>
__device__ int64_t search_keys(const Key* keys, int64_t begin, int64_t end, Key key, bool after) {
  while (begin < end) {
    const int64_t middle = begin + (end - begin) / 2;
    if (keys[middle] < key || (after && keys[middle] == key)) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// How many kept candidates of the image, from `first` on, come before candidate i: of equal keys those of lower levels.
template <typename T>
__device__ int64_t rank_in_image(const Candidates<T>& candidates, const KeptSums& sums, int64_t first, int64_t i) {
  int64_t rank = 0;
  for (int64_t begin = first; begin < first + candidates.per_image; begin += candidates.per_segment) {
    const int64_t end = begin + candidates.per_segment;
    const bool own = begin <= i && i < end;
    const int64_t place = own ? i : search_keys(candidates.keys, begin, end, candidates.keys[i], begin < i);
    rank += sums.before(place) - sums.before(begin);
  }
  return rank;
}

// A thread for each candidate, and for each slot of the output, unused ones of which it fills.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    write_kernel(SelectProposals<T> args, Candidates<T> candidates, KeptSums sums) {
  const int64_t i = thread_index<kThreads>(), per_image = candidates.per_image;
  if (i < candidates.count && sums.kept(i)) {
    const int64_t image = i / per_image;
    const int64_t slot = rank_in_image(candidates, sums, image * per_image, i);
    const int64_t anchor = candidates.rows[i] - image * args.anchors_per_image();
    if (slot < args.post_nms) args.write(image, slot, anchor, candidates.boxes[i]);
  }
  if (i < args.batch * args.post_nms) {
    const int64_t image = i / args.post_nms, slot = i % args.post_nms, first = image * per_image;
    const int64_t kept = sums.before(first + per_image) - sums.before(first);
    if (slot >= kept) args.write_unused(image, slot);
    if (slot == 0) args.counts[image] = kept < args.post_nms ? kept : args.post_nms;
  }
}

template <typename Key>
uint32_t* sorted_values(Context& context, const Key* keys, const uint32_t* values, int64_t count, int key_bits) {
  auto* const sorted_keys = context.scratch_array<Key>(count);
  auto* const sorted = context.scratch_array<uint32_t>(count);
  sort_pairs<SortOrder::ascending>(context, KeyValueArrays<Key, uint32_t>{keys, sorted_keys, values, sorted, count},
                                   key_bits);
  return sorted;
}

// The rows of all images, segment by segment, each segment's by descending score.
template <typename T>
const uint32_t* sort_rows(const SelectProposals<T>& args, Context& context) {
  using Key = typename SelectProposals<T>::Key;
  const int64_t count = args.batch * args.anchors_per_image(), segments = args.batch * args.levels.count;
  const dim3 grid = blocks_for(count), block(kThreads);
  auto* const keys = context.scratch_array<Key>(count);
  auto* const unsorted = context.scratch_array<uint32_t>(count);
  LDIE_LAUNCH(proposal_keys_kernel<T>, grid, block, 0, context.stream, args, count, keys, unsorted);
  const uint32_t* const rows = sorted_values(context, keys, unsorted, count, 8 * int(sizeof(Key)));

  int bits = 1;
  while (segments > int64_t(1) << bits) ++bits;
  LDIE_LAUNCH(segments_kernel, grid, block, 0, context.stream, args.levels, rows, count, unsorted);
  return sorted_values(context, unsorted, rows, count, bits);
}

template <typename T>
Candidates<T> make_candidates(const SelectProposals<T>& args, Context& context) {
  int64_t most = 0;
  for (int level = 0; level < args.levels.count; ++level) {
    const int64_t size = args.levels.size(level), taken = size < args.pre_nms ? size : args.pre_nms;
    if (taken > most) most = taken;
  }
  Candidates<T> candidates;
  candidates.per_segment = round_up(most, suppression::kTile);
  candidates.per_image = args.levels.count * candidates.per_segment;
  const int64_t count = candidates.count = args.batch * candidates.per_image;
  candidates.rows = context.scratch_array<uint32_t>(count);
  candidates.keys = context.scratch_array<typename SelectProposals<T>::Key>(count);
  candidates.boxes = context.scratch_array<Box<acc_t<T>>>(count);
  return candidates;
}

}  // namespace

template <typename T>
void select_proposals(const SelectProposals<T>& args, Context& context) {
  const uint32_t* const sorted = sort_rows(args, context);
  const Candidates<T> candidates = make_candidates(args, context);
  const int64_t count = candidates.count, slots = args.batch * args.post_nms;
  const uint32_t* const one_group = nullptr;
  const auto sequences = suppression::make_sequences(context, args.batch * args.levels.count, candidates.per_segment,
                                                     candidates.boxes, one_group, args.iou_threshold);
  LDIE_LAUNCH(decode_kernel<T>, blocks_for(count), dim3(kThreads), 0, context.stream, args, sorted, candidates,
              sequences.removed);
  suppression::greedy_search(sequences, context.stream);

  uint32_t* const sums = sequences.kept;
  inclusive_sum(context, sums, sums, count);
  LDIE_LAUNCH(write_kernel<T>, blocks_for(count > slots ? count : slots), dim3(kThreads), 0, context.stream, args,
              candidates, KeptSums{sums});
}

LDIE_INSTANTIATE(select_proposals, SelectProposals);

}  // namespace ldie::boxes
