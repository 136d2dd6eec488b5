// SPDX-License-Identifier: Apache-2.0
// Radix selection by the leading bits of the random words. As these are uniform, one histogram of them leaves about
// count / kBins candidates undecided per image and kind, a hundred or so, whose ranks are counted:
//   histogram  how many positive and negative candidates have each leading bits
//   plan       the bin in which the last candidate taken lies
//   collect    takes the candidates of the bins before, lists those of that bin
//   settle     takes those with the lowest ranks of the list
//   write      brings each kind by rising index
// The floor is two reads of the matches, 8 bytes each, and twice a quarter of a Philox block a candidate: 2 us for
// 2 x 269k at a copy's speed on an H200, where the launches take 4.7, 2.6, 3.7, 3.4 and 2.4. (11 to plan bit by
// bit, 6.7 for 1024 small histograms.)
#include "boxes/sample_labels.h"
#include "core/grid.cuh"
#include "core/integers.h"
#include "core/reduce.cuh"
#include "core/simt.cuh"

namespace ldie::boxes {
namespace {

constexpr int kThreads = 256;
constexpr int kHistogramThreads = 512;
constexpr int kBins = 2048;
constexpr int kBinShift = 32 - 11;
constexpr int kKinds = 2;                                         // positive, negative
constexpr int64_t kMostListBlocks = 1024, kMostHistograms = 264;  // of all images, but at least one of each

// For each image and kind.
struct Plan {
  int64_t taken;   // how many to take
  int64_t before;  // of these, how many lie before the bin
  uint32_t bin;
};

struct Workspace {
  uint32_t* histograms;  // [batch, kKinds, kBins]
  uint32_t* collected;   // [batch, kKinds] of the bins before
  uint32_t* listed;      // [batch, kKinds] of the bin itself
  Plan* plans;           // [batch, kKinds]
  uint64_t* undecided;   // [batch, kKinds, count], of which hardly anything is touched
  uint32_t* taken;       // [batch, num_samples] positives, then negatives
};

__global__ void __launch_bounds__(kThreads) clear_kernel(uint32_t* words, int64_t count) {
  for (int64_t i = thread_index<kThreads>(); i < count; i += grid_threads<kThreads>()) {
    words[i] = 0;
  }
}

// Calls visit(kind, word, candidate) for the thread's share of the candidates of image blockIdx.x, ignored ones left
// out. A warp does a group at a time.
template <int kBlock, typename Visitor>
__device__ void visit_candidates(const SampleLabels& args, const Visitor& visit) {
  const int64_t image = blockIdx.x, seed = args.seeds[image];
  const int64_t* const matches = args.matches + image * args.count;
  const int lane = int(threadIdx.x) % kDrawLanes;
  const int64_t groups = ceil_div(args.count, kDrawGroup), warps = kBlock / kDrawLanes;
  for (int64_t group = blockIdx.y * warps + threadIdx.x / kDrawLanes; group < groups; group += gridDim.y * warps) {
    const RandomWords drawn = draw(seed, group, lane);
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const int64_t candidate = group * kDrawGroup + w * kDrawLanes + lane;
      const int64_t match = candidate < args.count ? matches[candidate] : -2;
      if (is_positive(match) || is_negative(match)) visit(is_positive(match) ? 0 : 1, drawn.word[w], candidate);
    }
  }
}

// Large blocks, and no more than fill a GPU: most bins of each have to be added to the image's.
__global__ void __launch_bounds__(kHistogramThreads, 2) histogram_kernel(SampleLabels args, Workspace space) {
  LDIE_SHARED(uint32_t, histogram, [kKinds * kBins]);
  for (int i = int(threadIdx.x); i < kKinds * kBins; i += kHistogramThreads) histogram[i] = 0;
  __syncthreads();
  visit_candidates<kHistogramThreads>(args, [&](int kind, uint32_t word, int64_t) {
    atomicAdd(&histogram[kind * kBins + int(word >> kBinShift)], 1u);
  });
  __syncthreads();
  uint32_t* const total = space.histograms + int64_t(blockIdx.x) * kKinds * kBins;
  for (int i = int(threadIdx.x); i < kKinds * kBins; i += kHistogramThreads) {
    if (histogram[i] > 0) atomicAdd(&total[i], histogram[i]);
  }
}

// The sums of the values of the block's threads up to each, itself included. All threads must call.
__device__ int64_t inclusive_sums(int64_t value) {
  LDIE_SHARED(int64_t, of_warp, [kThreads / kWarpSize]);
  const int lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const int64_t before = __shfl_up_sync(kFullWarp, value, unsigned(distance));
    if (lane >= distance) value += before;
  }
  __syncthreads();  // the array may still be read by a call before this one
  if (lane == kWarpSize - 1) of_warp[warp] = value;
  __syncthreads();
  for (int w = 0; w < warp; ++w) value += of_warp[w];
  return value;
}

// A block per image. The bin is that of the last candidate taken: fewer than are taken lie before it.
__global__ void __launch_bounds__(kThreads) plan_kernel(SampleLabels args, Workspace space) {
  constexpr int kOwn = kBins / kThreads;  // bins of a thread
  LDIE_SHARED(int64_t, total, );
  const int64_t image = blockIdx.x;
  uint32_t sizes[kKinds][kOwn];
#pragma unroll
  for (int kind = 0; kind < kKinds; ++kind) {
    const uint32_t* const histogram = space.histograms + (image * kKinds + kind) * kBins;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) sizes[kind][i] = histogram[int(threadIdx.x) * kOwn + i];
  }
  int64_t wanted = args.max_positives;
#pragma unroll
  for (int kind = 0; kind < kKinds; ++kind) {
    int64_t own = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) own += sizes[kind][i];
    const int64_t until = inclusive_sums(own);
    if (threadIdx.x == kThreads - 1) total = until;
    __syncthreads();
    Plan plan{least(wanted, total), until - own, uint32_t(threadIdx.x) * kOwn};
    const bool is_mine = plan.taken == 0 ? threadIdx.x == 0 : plan.before < plan.taken && plan.taken <= until;
    if (is_mine) {
#pragma unroll
      for (int i = 0; i < kOwn - 1; ++i) {  // also past empty bins
        if (plan.bin % kOwn != uint32_t(i) || plan.before + sizes[kind][i] >= plan.taken) continue;
        plan.before += sizes[kind][i];
        ++plan.bin;
      }
      space.plans[image * kKinds + kind] = plan;
      args.counts[image * kKinds + kind] = plan.taken;
    }
    wanted = args.num_samples - plan.taken;
  }
}

__global__ void __launch_bounds__(kThreads) collect_kernel(SampleLabels args, Workspace space) {
  const int64_t first_list = int64_t(blockIdx.x) * kKinds;
  uint32_t* const taken = space.taken + int64_t(blockIdx.x) * args.num_samples;
  visit_candidates<kThreads>(args, [&](int kind, uint32_t word, int64_t candidate) {
    const int64_t list = first_list + kind;
    const uint32_t bin = word >> kBinShift, last = space.plans[list].bin;
    if (bin < last) {
      const int64_t start = kind == 0 ? 0 : space.plans[first_list].taken;
      taken[start + atomicAdd(&space.collected[list], 1u)] = uint32_t(candidate);
    } else if (bin == last) {
      space.undecided[list * args.count + atomicAdd(&space.listed[list], 1u)] = draw_order(word, candidate);
    }
  });
}

// A row of blocks per image and kind, which is blockIdx.x.
__global__ void __launch_bounds__(kThreads) settle_kernel(SampleLabels args, Workspace space) {
  const int64_t list = blockIdx.x, image = list / kKinds, listed = space.listed[list];
  const Plan plan = space.plans[list];
  const int64_t start = list % kKinds == 0 ? 0 : space.plans[list - 1].taken;
  const uint64_t* const undecided = space.undecided + list * args.count;
  uint32_t* const taken = space.taken + image * args.num_samples + start + plan.before;
  for (int64_t i = int64_t(blockIdx.y) * kThreads + threadIdx.x; i < listed; i += int64_t(gridDim.y) * kThreads) {
    const uint64_t order = undecided[i];
    int64_t rank = 0;
    for (int64_t j = 0; j < listed; ++j) rank += undecided[j] < order;
    if (plan.before + rank < plan.taken) taken[rank] = uint32_t(order);
  }
}

// A row of blocks per image, which is blockIdx.x. Quadratic in the number of samples, which is hundreds.
__global__ void __launch_bounds__(kThreads) write_kernel(SampleLabels args, Workspace space) {
  const int64_t image = blockIdx.x;
  const int64_t positives = space.plans[image * kKinds].taken, all = positives + space.plans[image * kKinds + 1].taken;
  const uint32_t* const taken = space.taken + image * args.num_samples;
  int64_t* const index = args.index + image * args.num_samples;
  uint8_t* const flags = args.positive + image * args.num_samples;
  for (int64_t i = int64_t(blockIdx.y) * kThreads + threadIdx.x; i < args.num_samples;
       i += int64_t(gridDim.y) * kThreads) {
    flags[i] = i < positives;
    if (i >= all) {
      index[i] = -1;
      continue;
    }
    const int64_t begin = i < positives ? 0 : positives, end = i < positives ? positives : all;
    int64_t place = begin;
    for (int64_t j = begin; j < end; ++j) place += taken[j] < taken[i];
    index[place] = taken[i];
  }
}

unsigned blocks_for(int64_t items) { return grid_blocks(items < 1 ? 1 : items, kThreads, kMostListBlocks); }

}  // namespace

void sample_labels(const SampleLabels& args, Context& context) {
  constexpr int64_t kExpectedListed = 1024;
  const int64_t lists = args.batch * kKinds, zeros = lists * (kBins + 2);
  Workspace space;
  space.histograms = context.scratch_array<uint32_t>(zeros);
  space.collected = space.histograms + lists * kBins;
  space.listed = space.collected + lists;
  space.plans = context.scratch_array<Plan>(lists);
  space.undecided = context.scratch_array<uint64_t>(lists * args.count);
  space.taken = context.scratch_array<uint32_t>(args.batch * args.num_samples);

  const dim3 block(kThreads), images(unsigned(args.batch));
  const dim3 candidates(images.x, blocks_for((args.count + 3) / 4));
  const int64_t histograms = ceil_div(args.count, 4 * kHistogramThreads);
  const int64_t most = args.batch > 0 && args.batch < kMostHistograms ? kMostHistograms / args.batch : 1;
  const dim3 counting(images.x, unsigned(histograms < 1 ? 1 : least(histograms, most)));
  LDIE_LAUNCH(clear_kernel, dim3(blocks_for(zeros)), block, 0, context.stream, space.histograms, zeros);
  LDIE_LAUNCH(histogram_kernel, counting, dim3(kHistogramThreads), 0, context.stream, args, space);
  LDIE_LAUNCH(plan_kernel, images, block, 0, context.stream, args, space);
  LDIE_LAUNCH(collect_kernel, candidates, block, 0, context.stream, args, space);
  LDIE_LAUNCH(settle_kernel, dim3(unsigned(lists), blocks_for(kExpectedListed)), block, 0, context.stream, args, space);
  LDIE_LAUNCH(write_kernel, dim3(images.x, blocks_for(args.num_samples)), block, 0, context.stream, args, space);
}

}  // namespace ldie::boxes
