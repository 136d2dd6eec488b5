// SPDX-License-Identifier: Apache-2.0
// Reads the logits of living slots once from global memory, 1.3 MB of 80 maps of 50 x 84, which is less than the time
// of a launch: what decides is how many loads wait one after the other. So a block takes 32 pixels with a warp for each
// group of slots: eight short columns side by side, their largest logits and sums joined through shared memory.
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/reduce.cuh"
#include "pyramid/pyramid_coverage.h"

namespace ldie::pyramid {
namespace {

constexpr int kThreads = kSlotGroups * kWarpSize;
constexpr int64_t kBlocksPerImage = 512;  // each leaves its bits of presence
constexpr int kAhead = 8;                 // logits that a thread waits for at a time

// What blocks found: for each group of slots words of 32 bits.
template <typename T>
struct PresenceBits {
  PyramidCoverage<T> args;
  uint32_t* words;  // [batch, blocks, kSlotGroups, group_words()]
  int64_t blocks;

  LDIE_HD int64_t group_words() const { return ceil_div(args.group_slots(), int64_t(kWarpSize)); }
  LDIE_HD uint32_t* of_group(int64_t image, int64_t block, int64_t group) const {
    return words + ((image * blocks + block) * kSlotGroups + group) * group_words();
  }
};

// Calls body(slot, logit) for the living of these slots at a cell of the map, or beyond it for none of its logits.
template <typename T, typename Body>
__device__ __forceinline__ void for_each_living(const PyramidCoverage<T>& args, int64_t image, int64_t cell,
                                                SlotRange slots, const Body& body) {
  using A = acc_t<T>;
  const bool in_map = cell < args.cells();
  for (int64_t first = slots.begin; first < slots.end; first += kAhead) {
    bool alive[kAhead];
    A logits[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) alive[i] = first + i < slots.end && args.alive[image * args.slots + first + i];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t map = image * args.slots + first + i;
      logits[i] = alive[i] && in_map ? A(args.logits[map * args.cells() + cell]) : -kInfinite<A>;
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (alive[i]) body(first + i, claimed_logit<A>(logits[i]));
    }
  }
}

// The largest logits of all groups, and the claims that are left to one of them: equals of earlier groups come first.
template <typename A, int K>
struct JoinedTops {
  TopLogits<A, K> top;
  Claims<A> claims;

  __device__ JoinedTops(const A (&tops)[kSlotGroups][K][kWarpSize], int64_t top_k, int group, int lane)
      : top(top_k), claims{} {
    for (int i = 0; i < kSlotGroups * K; ++i) {
      const A logit = tops[i / K][i % K][lane];
      if (logit < kInfinite<A>) top.insert(logit);
    }
    claims = top.claims();
    for (int i = 0; i < group * K; ++i) claims.take(tops[i / K][i % K][lane]);
  }
};

// Reads 4 bytes for a living logit in float32, again from the first-level cache for the sum and for the claims; some 35
// operations on each.
template <typename T, int K>
__global__ void __launch_bounds__(kThreads, 2) coverage_kernel(PresenceBits<T> bits) {
  using A = acc_t<T>;
  LDIE_SHARED(A, tops, [kSlotGroups][K][kWarpSize]);
  LDIE_SHARED(A, sums, [kSlotGroups][kWarpSize]);
  const PyramidCoverage<T>& args = bits.args;
  const int lane = int(threadIdx.x) % kWarpSize, group = int(threadIdx.x) / kWarpSize;
  const SlotRange slots = args.group(group);
  for (int64_t image = blockIdx.y; image < args.batch; image += gridDim.y) {
    uint32_t* const words = bits.of_group(image, blockIdx.x, group);
    if (lane == 0) {
      for (int64_t word = 0; word < bits.group_words(); ++word) words[word] = 0;
    }
    for (int64_t first = int64_t(blockIdx.x) * kWarpSize; first < args.cells(); first += bits.blocks * kWarpSize) {
      const int64_t cell = first + lane;
      const bool inside = cell < args.cells() && args.is_inside(image, cell / args.width, cell % args.width);
      TopLogits<A, K> top(args.top_k);
      for_each_living(args, image, cell, slots, [&](int64_t, A logit) { top.insert(logit); });
#pragma unroll
      for (int i = 0; i < K; ++i) tops[group][i][lane] = top.values[i];
      __syncthreads();

      JoinedTops<A, K> joined(tops, args.top_k, group, lane);
      const A greatest = joined.top.greatest(), shift = args.rule.shift(greatest);
      A sum = 0;
      if (args.rule.mode == ShareMode::kSoftmax) {
        for_each_living(args, image, cell, slots, [&](int64_t, A logit) { sum += fast_exp(logit - shift); });
      }
      sums[group][lane] = sum;
      __syncthreads();

      A total = 0;
      for (int i = 0; i < kSlotGroups; ++i) total += sums[i][lane];
      const PixelShares<A> pixel{shift, args.rule.total(total, shift)};
      if (group == 0 && cell < args.cells()) {
        args.coverage[image * args.cells() + cell] = inside ? args.rule.coverage(greatest, pixel) : A(1);
      }
      for_each_living(args, image, cell, slots, [&](int64_t slot, A logit) {
        const bool here = joined.claims.take(logit) && inside && args.rule.is_enough(logit, pixel);
        const int64_t place = slot - slots.begin;
        if (__any_sync(kFullWarp, here) && lane == 0) words[place / kWarpSize] |= 1u << place % kWarpSize;
      });
    }
  }
}

// A warp joins what the blocks found of 32 slots, 17 kB for 80 slots at 50 x 84, and reads their logits at their
// places.
template <typename T>
__global__ void __launch_bounds__(kThreads) presence_kernel(PresenceBits<T> bits) {
  const PyramidCoverage<T>& args = bits.args;
  const int lane = int(threadIdx.x) % kWarpSize;
  const int64_t words = bits.group_words(), count = args.batch * kSlotGroups * words;
  constexpr int kWarps = kThreads / kWarpSize;
  for (int64_t i = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarpSize; i < count; i += gridDim.x * kWarps) {
    const int64_t word = i % words, group = i / words % kSlotGroups, image = i / words / kSlotGroups;
    uint32_t found = 0;
    for (int64_t block = lane; block < bits.blocks; block += kWarpSize) {
      found |= bits.of_group(image, block, group)[word];
    }
    found = warp_reduce(found, [](uint32_t a, uint32_t b) { return a | b; });
    const SlotRange slots = args.group(group);
    const int64_t slot = slots.begin + word * kWarpSize + lane;
    if (slot >= slots.end) continue;
    const int64_t of_all = image * args.slots + slot;
    args.present[of_all] = (found >> lane & 1u) != 0;
    if (args.places.given()) args.responses[of_all] = args.response(of_all);
  }
}

template <int K, typename T>
void launch_coverage(const PyramidCoverage<T>& args, Context& context) {
  PresenceBits<T> bits{args, nullptr, std::min(ceil_div(args.cells(), int64_t(kWarpSize)), kBlocksPerImage)};
  const int64_t words = args.batch * kSlotGroups * bits.group_words();
  bits.words = context.scratch_array<uint32_t>(words * bits.blocks);
  LDIE_LAUNCH((coverage_kernel<T, K>), dim3(unsigned(bits.blocks), grid_side(args.batch)), dim3(kThreads), 0,
              context.stream, bits);
  LDIE_LAUNCH(presence_kernel<T>, dim3(grid_blocks(words, kThreads / kWarpSize)), dim3(kThreads), 0, context.stream,
              bits);
}

}  // namespace

template <typename T>
void pyramid_coverage(const PyramidCoverage<T>& args, Context& context) {
  args.top_k <= kUsualTop ? launch_coverage<kUsualTop>(args, context) : launch_coverage<kMostTop>(args, context);
}

LDIE_INSTANTIATE(pyramid_coverage, PyramidCoverage);

}  // namespace ldie::pyramid
