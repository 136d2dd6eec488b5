// SPDX-License-Identifier: Apache-2.0
// The greedy search over sequences of boxes: one (nms.cu), or many of one length (select_proposals.cu), all of them at
// once, chunk by chunk:
//   mask     which boxes of the chunk overlap which earlier ones of it: a bit a pair
//   resolve  the greedy search over these bits, all sequences and groups at once
//   apply    drops the boxes after the chunk that overlap a kept one of it
// A pair takes about 15 operations, and only pairs of one group are looked at that share a chunk or of which the
// earlier box was kept: that is the floor of mask and apply, not the bytes. That of resolve is the chain of tiles,
// which one block walks where there is one group: 20k uniform boxes take 139, 307 and 162 us on an H200. Of the mask n
// boxes of a chunk write and read n^2 / 16 bytes, the half below the diagonal.
#pragma once

#include "core/context.h"
#include "core/grid.cuh"
#include "core/integers.h"
#include "core/reduce.cuh"
#include "core/simt.cuh"
#include "suppression/nms.h"

namespace ldie::suppression {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;                          // boxes whose flags fill a word
constexpr int kChunk = 4096;                       // boxes of a sequence resolved together
constexpr int64_t kMaskBytes = int64_t(64) << 20;  // at most; the half of them that is used fits an L2 of 50 MB
constexpr int kWords = kThreads / kTile;

// The boxes in search order: sequence by sequence, in each group by group, in each by descending score.
template <typename A>
struct Sequences {
  int64_t count, length;  // of sequences, and of each; several have a length that is a multiple of kTile
  const Box<A>* boxes;
  const uint32_t* groups;  // rising numbers, or null when a sequence is one group
  uint32_t* removed;       // a bit per box: by a box of an earlier chunk, or by the caller
  uint32_t* kept;          // 0 or 1
  uint64_t* mask;
  A threshold;

  LDIE_HD int32_t chunk_length() const { return length < kChunk ? int32_t(round_up(length, kTile)) : kChunk; }
  int64_t mask_words() const { return int64_t(chunk_length()) * (chunk_length() / kTile); }  // of a sequence
};

// The chunk of one sequence that a block works on; boxes are numbered from its first.
template <typename A>
struct Chunk {
  int32_t count;  // of boxes
  int64_t rest;   // of the sequence: boxes from the first of the chunk on
  const Box<A>* boxes;
  const uint32_t* groups;
  uint32_t* removed;
  uint32_t* kept;
  uint64_t* mask;  // [tiles][stride]: bit i of word w of box j: j overlaps box 64 w + i, which comes before it
  int32_t stride;
  A threshold;

  // Boxes from `begin` on, a multiple of kChunk, of sequence `first` + blockIdx.z.
  __device__ Chunk(const Sequences<A>& all, int64_t first, int64_t begin)
      : rest(all.length - begin), stride(all.chunk_length()), threshold(all.threshold) {
    const int64_t start = (first + blockIdx.z) * all.length + begin;
    count = rest < kChunk ? int32_t(rest) : kChunk;
    boxes = all.boxes + start;
    groups = all.groups ? all.groups + start : nullptr;
    removed = all.removed + start / kWarpSize;
    kept = all.kept + start;
    mask = all.mask + int64_t(blockIdx.z) * stride * (stride / kTile);
  }

  __device__ uint32_t group(int64_t i) const { return groups ? groups[i] : 0; }
  __device__ bool is_removed(int64_t i) const { return removed[i / kWarpSize] >> (i % kWarpSize) & 1; }
};

template <typename A>
__device__ __forceinline__ bool overlaps(const Box<A>& a, const Box<A>& b, A area_b, A threshold) {
  const PairOverlap<A> pair(a, box_area(a), b, area_b);
  return (threshold < A(0) || pair.intersects()) && pair.exceeds(threshold);
}

// A block does kWords words of the kTile boxes of tile blockIdx.y.
template <typename A>
__global__ void __launch_bounds__(kThreads) mask_kernel(Sequences<A> sequences, int64_t first, int64_t begin) {
  LDIE_SHARED(Box<A>, earlier, [kWords][kTile]);
  LDIE_SHARED(uint32_t, earlier_group, [kWords][kTile]);
  const int lane = int(threadIdx.x) % kTile, slot = int(threadIdx.x) / kTile;
  const int32_t word = int32_t(blockIdx.x) * kWords + slot, tile = int32_t(blockIdx.y);
  const int32_t i = word * kTile + lane, j = tile * kTile + lane;
  if (int32_t(blockIdx.x) * kWords > tile) return;  // later boxes only
  const Chunk<A> chunk(sequences, first, begin);
  if (i < chunk.count) {
    earlier[slot][lane] = chunk.boxes[i];
    earlier_group[slot][lane] = chunk.group(i);
  }
  __syncthreads();
  if (word > tile || j >= chunk.count) return;

  uint64_t bits = 0;
  const int32_t before = word < tile ? kTile : lane;
  const uint32_t group = chunk.group(j);
  if (before > 0 && earlier_group[slot][before - 1] == group && !chunk.is_removed(j)) {
    const Box<A> box = chunk.boxes[j];
    const A area = box_area(box);
    for (int32_t k = 0; k < before; ++k) {
      const Box<A> other = earlier[slot][k];
      if (earlier_group[slot][k] == group && overlaps(other, box, area, chunk.threshold)) {
        bits |= uint64_t(1) << k;
      }
    }
  }
  chunk.mask[int64_t(word) * chunk.stride + j] = bits;
}

// A flag of each of a tile's boxes, two from every lane of a warp.
__device__ uint64_t tile_ballot(bool low, bool high) {
  const uint64_t low_half = __ballot_sync(kFullWarp, low), high_half = __ballot_sync(kFullWarp, high);
  return low_half | high_half << kWarpSize;
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
__device__ void load_words(const Chunk<A>& chunk, int32_t tile, TileWords& words) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int32_t first = tile * kTile + half * kWarpSize, j = first + int32_t(threadIdx.x);
    words.own[half] = words.before[half] = 0;
    words.group[half] = words.group_before[half] = 0;
    words.removed[half] = 0;
    if (j < chunk.count) {
      words.own[half] = chunk.mask[int64_t(tile) * chunk.stride + j];
      if (tile > 0) words.before[half] = chunk.mask[int64_t(tile - 1) * chunk.stride + j];
      words.group[half] = chunk.group(j);
      words.group_before[half] = j > 0 ? chunk.group(j - 1) : words.group[half] + 1;
    }
    if (first < chunk.count) words.removed[half] = chunk.removed[first / kWarpSize];
  }
}

// A block per tile searches the groups that start in its tile, to their end; groups are independent, and one that goes
// on from the chunk before counts as starting here. The first warp resolves a tile while the others look up, for the
// tile after it, which boxes overlap those kept until the tile before.
constexpr int kLookups = kThreads;
constexpr int kResolveThreads = kWarpSize + kLookups;

template <typename A>
__global__ void __launch_bounds__(kResolveThreads)
    resolve_kernel(Sequences<A> sequences, int64_t first, int64_t begin) {
  LDIE_SHARED(uint64_t, kept, [kChunk / kTile]);
  LDIE_SHARED(uint32_t, dropped, [2][kLookups / kWarpSize]);  // of the tiles of even and of odd number
  LDIE_SHARED(int, more, [2]);
  const Chunk<A> chunk(sequences, first, begin);
  const int32_t first_tile = int32_t(blockIdx.x), tiles = ceil_div(chunk.count, kTile);
  const int lane = int(threadIdx.x) % kWarpSize;
  const bool resolves = threadIdx.x < kWarpSize;
  uint64_t kept_before = 0;
  TileWords words{};
  if (resolves) load_words(chunk, first_tile, words);

  for (int32_t tile = first_tile;; ++tile) {
    const int parity = tile & 1;
    if (resolves) {
      TileWords next{};  // asked for a tile ahead: its latency passes while this tile is resolved
      if (tile + 1 < tiles) load_words(chunk, tile + 1, next);
      const uint64_t starts =
          tile_ballot(words.group[0] != words.group_before[0], words.group[1] != words.group_before[1]);
      const uint64_t until_start = starts ? (starts & (~starts + 1)) - 1 : ~uint64_t(0);
      const uint64_t mine = tile == first_tile ? ~until_start : until_start;
      const int32_t boxes = chunk.count - tile * kTile;
      uint64_t open = mine & (boxes < kTile ? (uint64_t(1) << boxes) - 1 : ~uint64_t(0));
      open &= ~(words.removed[0] | uint64_t(words.removed[1]) << kWarpSize);
      if (tile > first_tile) {
        open &= ~tile_ballot((words.before[0] & kept_before) != 0, (words.before[1] & kept_before) != 0);
        for (int w = 0; w < kLookups / kWarpSize; ++w) open &= ~(uint64_t(dropped[parity][w]) << (w % 2 * kWarpSize));
      }
      kept_before = resolve_tile(words.own[0], words.own[1], open);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int box = lane + half * kWarpSize;
        if (box < boxes && (mine >> box & 1)) chunk.kept[tile * kTile + box] = kept_before >> box & 1;
      }
      if (lane == 0) {
        kept[tile] = kept_before;
        more[parity] = tile + 1 < tiles && (tile == first_tile ? starts != 0 : starts == 0);
      }
      words = next;
    } else {
      const int lookup = int(threadIdx.x) - kWarpSize;
      const int32_t j = (tile + 1) * kTile + lookup % kTile;
      uint64_t overlapped = 0;
      if (j < chunk.count) {
#pragma unroll 4
        for (int32_t word = first_tile + lookup / kTile; word < tile; word += kLookups / kTile) {
          overlapped |= chunk.mask[int64_t(word) * chunk.stride + j] & kept[word];
        }
      }
      const unsigned bits = __ballot_sync(kFullWarp, overlapped != 0);
      if (lane == 0) dropped[parity ^ 1][lookup / kWarpSize] = bits;
    }
    __syncthreads();
    if (!more[parity]) return;
  }
}

// A thread per box after the chunk, and a row of blocks per kThreads boxes of the chunk. Only the chunk's last group
// goes on there.
template <typename A>
__global__ void __launch_bounds__(kThreads) apply_kernel(Sequences<A> sequences, int64_t first, int64_t begin) {
  LDIE_SHARED(Box<A>, listed, [kThreads]);
  LDIE_SHARED(int, count, );
  const Chunk<A> chunk(sequences, first, begin);
  const int64_t j = chunk.count + thread_index<kThreads>();
  const int32_t i = int32_t(blockIdx.y) * kThreads + int32_t(threadIdx.x);
  const uint32_t group = chunk.group(chunk.count - 1);
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  if (chunk.kept[i] && chunk.group(i) == group) listed[atomicAdd(&count, 1)] = chunk.boxes[i];
  __syncthreads();

  bool hit = false;
  if (j < chunk.rest && chunk.group(j) == group) {
    const Box<A> box = chunk.boxes[j];
    const A area = box_area(box);
    for (int k = 0; k < count && !hit; ++k) {
      const Box<A> other = listed[k];
      hit = overlaps(other, box, area, chunk.threshold);
    }
  }
  const unsigned hits = __ballot_sync(kFullWarp, hit);
  if (hits != 0 && threadIdx.x % kWarpSize == 0) atomicOr(&chunk.removed[j / kWarpSize], hits);
}

dim3 blocks_for(int64_t count) { return dim3(grid_blocks(count, kThreads, kMostBlocksX)); }

// Sequences that are searched at once. Masks of 2000 boxes each take 0.5 MB, of a chunk 2 MB.
template <typename A>
int64_t sequences_at_once(const Sequences<A>& sequences) {
  const int64_t bytes = sequences.mask_words() * int64_t(sizeof(uint64_t));
  const int64_t fitting = bytes > 0 ? kMaskBytes / bytes : kMostBlocks;
  const int64_t most = fitting < kMostBlocks ? fitting : kMostBlocks;
  return sequences.count < most ? sequences.count : most;
}

// A search over boxes that stand in place when it starts, as `groups` and the bits of `removed` do.
template <typename A>
Sequences<A> make_sequences(Context& context, int64_t count, int64_t length, const Box<A>* boxes,
                            const uint32_t* groups, double iou_threshold) {
  Sequences<A> sequences{count, length, boxes, groups, nullptr, nullptr, nullptr, threshold_floor<A>(iou_threshold)};
  sequences.removed = context.scratch_array<uint32_t>(ceil_div(count * length, kWarpSize));
  sequences.kept = context.scratch_array<uint32_t>(count * length);
  sequences.mask = context.scratch_array<uint64_t>(sequences_at_once(sequences) * sequences.mask_words());
  return sequences;
}

// Writes sequences.kept, 0 for boxes that were removed before.
template <typename A>
void greedy_search(const Sequences<A>& sequences, void* stream) {
  const int64_t most = sequences_at_once(sequences), length = sequences.length;
  const dim3 block(kThreads), resolve_block(kResolveThreads);
  for (int64_t first = 0; first < sequences.count; first += most) {
    const unsigned count = unsigned(sequences.count - first < most ? sequences.count - first : most);
    for (int64_t begin = 0; begin < length; begin += kChunk) {
      const int64_t rest = length - begin, boxes = rest < kChunk ? rest : kChunk;
      const unsigned tiles = unsigned(ceil_div(boxes, kTile));
      const dim3 mask_grid(ceil_div(tiles, kWords), tiles, count);
      const dim3 resolve_grid(sequences.groups ? tiles : 1, 1, count);  // one group starts in the first tile
      LDIE_LAUNCH(mask_kernel<A>, mask_grid, block, 0, stream, sequences, first, begin);
      LDIE_LAUNCH(resolve_kernel<A>, resolve_grid, resolve_block, 0, stream, sequences, first, begin);
      if (rest <= kChunk) continue;
      const dim3 apply_grid(blocks_for(rest - kChunk).x, kChunk / kThreads, count);
      LDIE_LAUNCH(apply_kernel<A>, apply_grid, block, 0, stream, sequences, first, begin);
    }
  }
}

}  // namespace
}  // namespace ldie::suppression
