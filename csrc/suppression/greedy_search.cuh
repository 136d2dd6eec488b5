// SPDX-License-Identifier: Apache-2.0
// The greedy search of nms.cu, chunk by chunk of a sequence of boxes:
//   mask     which boxes of the chunk overlap which earlier ones of it: kChunk^2 bits, whatever the number of boxes
//   resolve  the greedy search over these bits, all groups at once
//   apply    drops the boxes after the chunk that overlap a kept one of it
// A pair takes about 15 operations, and only pairs of one group are looked at that share a chunk or of which the
// earlier box was kept: that is the floor, not the bytes.
#pragma once

#include "core/context.h"
#include "core/simt.cuh"
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
  uint32_t* removed;       // a bit per box: by a box of an earlier chunk, or by the caller
  uint8_t* kept;
  uint64_t* mask;  // [kChunk / kTile][kChunk]: bit i of word w of box j: j overlaps box 64 w + i, which comes before it
  A threshold;

  __device__ uint32_t group(int64_t i) const { return groups ? groups[i] : 0; }
  __device__ bool is_removed(int64_t i) const { return removed[i / kWarp] >> (i % kWarp) & 1; }
};

struct Chunk {
  int64_t begin;  // a multiple of kChunk
  int32_t count;
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
  if (before > 0 && earlier_group[slot][before - 1] == group && !sequence.is_removed(chunk.begin + j)) {
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

// What a lane of the resolving warp needs to know of a tile: of boxes `lane` and `lane + 32` of it.
struct TileWords {
  uint64_t own[2], before[2];  // overlaps with the tile itself and with the tile before
  uint32_t group[2], group_before[2];
  uint32_t removed[2];
};

template <typename A>
__device__ void load_words(const Sequence<A>& sequence, const Chunk& chunk, int32_t tile, TileWords& words) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int32_t first = tile * kTile + half * kWarp, j = first + int32_t(threadIdx.x);
    words.own[half] = words.before[half] = 0;
    words.group[half] = words.group_before[half] = 0;
    words.removed[half] = 0;
    if (j < chunk.count) {
      words.own[half] = sequence.mask[int64_t(tile) * kChunk + j];
      if (tile > 0) words.before[half] = sequence.mask[int64_t(tile - 1) * kChunk + j];
      words.group[half] = sequence.group(chunk.begin + j);
      words.group_before[half] = j > 0 ? sequence.group(chunk.begin + j - 1) : words.group[half] + 1;
    }
    if (first < chunk.count) words.removed[half] = sequence.removed[(chunk.begin + first) / kWarp];
  }
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
  const int32_t first_tile = int32_t(blockIdx.x), tiles = (chunk.count + kTile - 1) / kTile;
  const int lane = int(threadIdx.x) % kWarp;
  const bool resolves = threadIdx.x < kWarp;
  uint64_t kept_before = 0;
  TileWords words{};
  if (resolves) load_words(sequence, chunk, first_tile, words);

  for (int32_t tile = first_tile;; ++tile) {
    const int parity = tile & 1;
    if (resolves) {
      TileWords next{};  // asked for a tile ahead: its latency passes while this tile is resolved
      if (tile + 1 < tiles) load_words(sequence, chunk, tile + 1, next);
      const uint64_t starts =
          tile_ballot(words.group[0] != words.group_before[0], words.group[1] != words.group_before[1]);
      const uint64_t until_start = starts ? (starts & (~starts + 1)) - 1 : ~uint64_t(0);
      const uint64_t mine = tile == first_tile ? ~until_start : until_start;
      const int32_t boxes = chunk.count - tile * kTile;
      uint64_t open = mine & (boxes < kTile ? (uint64_t(1) << boxes) - 1 : ~uint64_t(0));
      open &= ~(words.removed[0] | uint64_t(words.removed[1]) << kWarp);
      if (tile > first_tile) {
        open &= ~tile_ballot((words.before[0] & kept_before) != 0, (words.before[1] & kept_before) != 0);
        for (int w = 0; w < kLookups / kWarp; ++w) open &= ~(uint64_t(dropped[parity][w]) << (w % 2 * kWarp));
      }
      kept_before = resolve_tile(words.own[0], words.own[1], open);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int box = lane + half * kWarp;
        if (box < boxes && (mine >> box & 1)) sequence.kept[chunk.begin + tile * kTile + box] = kept_before >> box & 1;
      }
      if (lane == 0) {
        kept[tile] = kept_before;
        more[parity] = tile + 1 < tiles && (tile == first_tile ? starts != 0 : starts == 0);
      }
      words = next;
    } else {
      const int lookup = int(threadIdx.x) - kWarp;
      const int32_t j = (tile + 1) * kTile + lookup % kTile;
      uint64_t overlapped = 0;
      if (j < chunk.count) {
#pragma unroll 4
        for (int32_t word = first_tile + lookup / kTile; word < tile; word += kLookups / kTile) {
          overlapped |= sequence.mask[int64_t(word) * kChunk + j] & kept[word];
        }
      }
      const unsigned bits = __ballot_sync(kAllLanes, overlapped != 0);
      if (lane == 0) dropped[parity ^ 1][lookup / kWarp] = bits;
    }
    __syncthreads();
    if (!more[parity]) return;
  }
}

// A thread per box after the chunk, and a row of blocks per kThreads boxes of the chunk. Only the chunk's last group
// goes on there.
template <typename A>
__global__ void __launch_bounds__(kThreads) apply_kernel(Sequence<A> sequence, Chunk chunk) {
  LDIE_SHARED(Box<A>, listed, [kThreads]);
  LDIE_SHARED(int, count, );
  const int64_t end = chunk.begin + chunk.count, j = end + int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t i = chunk.begin + int64_t(blockIdx.y) * kThreads + threadIdx.x;
  const uint32_t group = sequence.group(end - 1);
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  if (sequence.kept[i] && sequence.group(i) == group) listed[atomicAdd(&count, 1)] = sequence.boxes[i];
  __syncthreads();

  bool hit = false;
  if (j < sequence.count && sequence.group(j) == group) {
    const Box<A> box = sequence.boxes[j];
    const A area = box_area(box);
    for (int k = 0; k < count && !hit; ++k) {
      const Box<A> other = listed[k];
      hit = overlaps(other, box_area(other), box, area, sequence.threshold);
    }
  }
  const unsigned hits = __ballot_sync(kAllLanes, hit);
  if (hits != 0 && threadIdx.x % kWarp == 0) atomicOr(&sequence.removed[j / kWarp], hits);
}

dim3 blocks_for(int64_t count) { return dim3(unsigned((count + kThreads - 1) / kThreads)); }

// A search over boxes that stand in place when it starts, as `groups` and the bits of `removed` do.
template <typename A>
Sequence<A> make_sequence(Context& context, int64_t count, const Box<A>* boxes, const uint32_t* groups,
                          double iou_threshold) {
  return {count,
          boxes,
          groups,
          context.scratch_array<uint32_t>((count + kWarp - 1) / kWarp),
          context.scratch_array<uint8_t>(count),
          context.scratch_array<uint64_t>(int64_t(kChunk) * (kChunk / kTile)),
          threshold_floor<A>(iou_threshold)};
}

// Writes sequence.kept, 0 for boxes that were removed before.
template <typename A>
void greedy_search(const Sequence<A>& sequence, void* stream) {
  for (int64_t begin = 0; begin < sequence.count; begin += kChunk) {
    const int64_t after = sequence.count - begin - kChunk;
    const Chunk chunk{begin, int32_t(after < 0 ? sequence.count - begin : kChunk)};
    const unsigned tiles = unsigned((chunk.count + kTile - 1) / kTile);
    const dim3 mask_grid((tiles + kWords - 1) / kWords, tiles), block(kThreads);
    LDIE_LAUNCH(mask_kernel<A>, mask_grid, block, 0, stream, sequence, chunk);
    LDIE_LAUNCH(resolve_kernel<A>, dim3(tiles), dim3(kResolveThreads), 0, stream, sequence, chunk);
    if (after > 0) {
      LDIE_LAUNCH(apply_kernel<A>, dim3(blocks_for(after).x, kChunk / kThreads), block, 0, stream, sequence, chunk);
    }
  }
}

}  // namespace
}  // namespace ldie
