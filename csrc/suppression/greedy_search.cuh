// SPDX-License-Identifier: Apache-2.0
// The greedy search of nms.cu, chunk by chunk of a sequence of boxes:
//   mask     which boxes of the chunk overlap which earlier ones of it: kChunk^2 bits, whatever the number of boxes
//   resolve  the greedy search over these bits, all groups at once
//   apply    drops the boxes after the chunk that overlap a kept one of it
// A pair takes about 15 operations, and only pairs of one group are looked at that share a chunk or of which the
// earlier box was kept: that is the floor, not the bytes.
#pragma once

#include "core/simt.h"
#include "suppression/nms.h"

namespace ldie {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;     // boxes whose flags fill a word
constexpr int kChunk = 4096;  // boxes resolved together
constexpr int kWords = kThreads / kTile;
constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// The boxes in search order: group by group, each by descending score.
template <typename A>
struct Sequence {
  int64_t count;
  const Box<A>* boxes;
  const uint32_t* groups;  // rising numbers, or null when all boxes are of one group
  uint8_t* removed;        // by a box of an earlier chunk
  uint8_t* kept;
  uint64_t* mask;  // [kChunk / kTile][kChunk]: bit i of word w of box j: j overlaps box 64 w + i, which comes before it
  A threshold;

  __device__ uint32_t group(int64_t i) const { return groups ? groups[i] : 0; }
};

struct Chunk {
  int64_t begin;
  int32_t count;

  __device__ int32_t tiles() const { return (count + kTile - 1) / kTile; }
};

// A block does kWords words of the kTile boxes of tile blockIdx.y.
template <typename A>
__global__ void __launch_bounds__(kThreads) mask_kernel(Sequence<A> sequence, Chunk chunk) {
  LDIE_SHARED(Box<A>, earlier, [kWords][kTile]);
  LDIE_SHARED(uint32_t, earlier_group, [kWords][kTile]);
  const int lane = int(threadIdx.x) % kTile, slot = int(threadIdx.x) / kTile;
  const int32_t word = int32_t(blockIdx.x) * kWords + slot, tile = int32_t(blockIdx.y);
  const int32_t i = word * kTile + lane, j = tile * kTile + lane;
  if (i < chunk.count) {
    earlier[slot][lane] = sequence.boxes[chunk.begin + i];
    earlier_group[slot][lane] = sequence.group(chunk.begin + i);
  }
  __syncthreads();
  if (word > tile || j >= chunk.count) return;

  uint64_t bits = 0;
  const int32_t before = word < tile ? kTile : lane;
  const uint32_t group = sequence.group(chunk.begin + j);
  if (before > 0 && earlier_group[slot][before - 1] == group && !sequence.removed[chunk.begin + j]) {
    const Box<A> box = sequence.boxes[chunk.begin + j];
    const A area = box_area(box);
    for (int32_t k = 0; k < before; ++k) {
      const Box<A> other = earlier[slot][k];
      if (earlier_group[slot][k] == group && overlaps(other, box_area(other), box, area, sequence.threshold)) {
        bits |= uint64_t(1) << k;
      }
    }
  }
  sequence.mask[int64_t(word) * kChunk + j] = bits;
}

// A flag of each of a tile's boxes, two from every lane of a warp.
__device__ uint64_t tile_ballot(bool low, bool high) {
  const uint64_t low_half = __ballot_sync(kAllLanes, low), high_half = __ballot_sync(kAllLanes, high);
  return low_half | high_half << kWarp;
}

// The greedy search within a tile, by a warp: of the boxes still open, those that no open box before them overlaps are
// kept, all at once, and those that overlap a kept one drop out. That takes as many rounds as the longest chain of
// boxes that depend on each other, a few, not one per box. low, high: the words of boxes `lane` and `lane + 32`.
__device__ uint64_t resolve_tile(uint64_t low, uint64_t high, uint64_t open) {
  uint64_t kept = 0;
  while (open) {
    const uint64_t undisturbed = open & tile_ballot((low & open) == 0, (high & open) == 0);
    kept |= undisturbed;
    open &= ~undisturbed;
    open &= ~tile_ballot((low & kept) != 0, (high & kept) != 0);
  }
  return kept;
}

// A block per tile searches the groups that start in its tile, to their end; groups are independent, and one that goes
// on from the chunk before counts as starting here. The first warp resolves a tile while the others look up, for the
// tile after it, which boxes overlap those kept until the tile before.
constexpr int kLookups = kThreads;
constexpr int kResolveThreads = kWarp + kLookups;

template <typename A>
__global__ void __launch_bounds__(kResolveThreads) resolve_kernel(Sequence<A> sequence, Chunk chunk) {
  LDIE_SHARED(uint64_t, kept, [kChunk / kTile]);
  LDIE_SHARED(uint32_t, dropped, [2][kLookups / kWarp]);  // of the tiles of even and of odd number
  LDIE_SHARED(int, more, [2]);
  const int32_t first_tile = int32_t(blockIdx.x), tiles = chunk.tiles();
  const int lane = int(threadIdx.x) % kWarp;
  const bool resolves = threadIdx.x < kWarp;
  const uint64_t* const mask = sequence.mask;
  uint64_t kept_before = 0, before_low = 0, before_high = 0, own_low = 0, own_high = 0;

  for (int32_t tile = first_tile;; ++tile) {
    const int parity = tile & 1;
    if (resolves) {
      const int32_t low = tile * kTile + lane, high = low + kWarp;
      const bool has_low = low < chunk.count, has_high = high < chunk.count;
      if (has_low) own_low = mask[int64_t(tile) * kChunk + low];
      if (has_high) own_high = mask[int64_t(tile) * kChunk + high];
      if (tile > first_tile) {
        if (has_low) before_low = mask[int64_t(tile - 1) * kChunk + low];
        if (has_high) before_high = mask[int64_t(tile - 1) * kChunk + high];
      }
      const int64_t at = chunk.begin + low;
      const bool starts_low = low == 0 || (has_low && sequence.group(at) != sequence.group(at - 1));
      const bool starts_high = has_high && sequence.group(at + kWarp) != sequence.group(at + kWarp - 1);
      const uint64_t starts = tile_ballot(starts_low, starts_high);
      const uint64_t until_start = starts ? (starts & (~starts + 1)) - 1 : ~uint64_t(0);
      const uint64_t mine = tile == first_tile ? ~until_start : until_start;
      uint64_t open = mine & tile_ballot(has_low && !sequence.removed[at], has_high && !sequence.removed[at + kWarp]);
      if (tile > first_tile) {
        uint64_t out = tile_ballot((before_low & kept_before) != 0, (before_high & kept_before) != 0);
        for (int w = 0; w < kLookups / kWarp; ++w) out |= uint64_t(dropped[parity][w]) << (w % 2 * kWarp);
        open &= ~out;
      }
      kept_before = resolve_tile(own_low, own_high, open);
      if (has_low && (mine >> lane & 1)) sequence.kept[at] = kept_before >> lane & 1;
      if (has_high && (mine >> (lane + kWarp) & 1)) sequence.kept[at + kWarp] = kept_before >> (lane + kWarp) & 1;
      if (lane == 0) {
        kept[tile] = kept_before;
        more[parity] = tile + 1 < tiles && (tile == first_tile ? starts != 0 : starts == 0);
      }
    } else {
      const int lookup = int(threadIdx.x) - kWarp;
      const int32_t j = (tile + 1) * kTile + lookup % kTile;
      uint64_t overlapped = 0;
      if (j < chunk.count) {
#pragma unroll 4
        for (int32_t word = first_tile + lookup / kTile; word < tile; word += kLookups / kTile) {
          overlapped |= mask[int64_t(word) * kChunk + j] & kept[word];
        }
      }
      const unsigned bits = __ballot_sync(kAllLanes, overlapped != 0);
      if (lane == 0) dropped[parity ^ 1][lookup / kWarp] = bits;
    }
    __syncthreads();
    if (!more[parity]) return;
  }
}

// A thread per box after the chunk. Only the chunk's last group goes on there.
template <typename A>
__global__ void __launch_bounds__(kThreads) apply_kernel(Sequence<A> sequence, Chunk chunk) {
  LDIE_SHARED(Box<A>, listed, [kThreads]);
  LDIE_SHARED(int, count, );
  const int64_t end = chunk.begin + chunk.count, first = end + int64_t(blockIdx.x) * kThreads, j = first + threadIdx.x;
  const uint32_t group = sequence.group(end - 1);
  const bool concerned = sequence.group(first) == group;  // else no box of the block is
  bool open = j < sequence.count && sequence.group(j) == group && !sequence.removed[j];
  Box<A> box{};
  if (open) box = sequence.boxes[j];
  const A area = box_area(box);
  const bool was_open = open;

  for (int64_t base = chunk.begin; concerned && base < end; base += kThreads) {
    if (threadIdx.x == 0) count = 0;
    __syncthreads();
    const int64_t i = base + threadIdx.x;
    if (i < end && sequence.kept[i] && sequence.group(i) == group) {
      listed[atomicAdd(&count, 1)] = sequence.boxes[i];
    }
    __syncthreads();
    for (int k = 0; open && k < count; ++k) {
      const Box<A> other = listed[k];
      open = !overlaps(other, box_area(other), box, area, sequence.threshold);
    }
    __syncthreads();
  }
  if (was_open && !open) sequence.removed[j] = 1;
}

}  // namespace
}  // namespace ldie
