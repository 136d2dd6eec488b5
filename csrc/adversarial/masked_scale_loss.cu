// SPDX-License-Identifier: Apache-2.0
// Loss and double backward are sums: a grid of tiles, then one block that adds the blocks' sums in order, so that
// results do not change from run to run. The gradient is one launch.
#include "adversarial/class_counts.cuh"
#include "adversarial/masked_scale_loss.h"
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/reduce.cuh"

namespace ldie::adversarial {
namespace {

constexpr int kThreads = kCountThreads;
constexpr int64_t kBlocks = 2048;  // a grid's most: enough to fill any GPU, few enough for one block to add up
constexpr int kFinishThreads = 256;

// The sums of each block.
struct BlockSums {
  double* terms;
  int64_t* covered;
  int64_t blocks;
};

BlockSums block_sums(const QuadTiles& tiles, Context& context) {
  const int64_t blocks = tiles.count() < kBlocks ? tiles.count() : kBlocks;
  return {context.scratch_array<double>(blocks), context.scratch_array<int64_t>(blocks), blocks};
}

template <typename T>
QuadTiles quad_tiles(const ScaleScores<T>& scores) {
  return {scores.batch, scores.height, scores.width};
}

template <typename C>
__device__ __forceinline__ Quad<int32_t> load_counts(const C* counts, int64_t pixel, int32_t size) {
  if (counts) return load_quad<int32_t>(counts + pixel, size);
  Quad<int32_t> ones;
#pragma unroll
  for (int i = 0; i < kQuad; ++i) ones.v[i] = i < size ? 1 : 0;
  return ones;
}

__device__ __forceinline__ int32_t quad_sum(const Quad<int32_t>& quad) {
  int32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kQuad; ++i) sum += quad.v[i];
  return sum;
}

// Calls body(index of the quad's first score, its scores, its factors s_j * weight) for each channel.
template <typename T, typename Body>
__device__ __forceinline__ void for_channels(const ScaleScores<T>& scores, const QuadPosition& at, const Body& body) {
  using A = acc_t<T>;
  const int64_t pixel = at.pixel(scores.width);
  for (int64_t channel = 0; channel < scores.channels; ++channel) {
    const int64_t index = (at.image * scores.channels + channel) * scores.pixels() + pixel;
    const A* const weight = scores.weight_plane(at.image, channel);
    const A sign = scores.sign(channel);
    Quad<A> factor;
    if (weight) factor = load_quad<A>(weight + pixel, at.count);
#pragma unroll
    for (int i = 0; i < kQuad; ++i) factor.v[i] = weight ? sign * factor.v[i] : sign;
    body(index, load_quad<A>(scores.scores + index, at.count), factor);
  }
}

// All threads of the block must call.
__device__ __forceinline__ void store_block_sums(const BlockSums& sums, double terms, int64_t covered) {
  terms = block_sum<kThreads>(terms);
  covered = block_sum<kThreads>(covered);
  if (threadIdx.x == 0) {
    sums.terms[blockIdx.x] = terms;
    sums.covered[blockIdx.x] = covered;
  }
}

// Reads the scores where K > 0 and writes K: 8 x 3 x 128 x 128 floats are 1.6 MB, 0.4 us at a copy's speed on an H200,
// so the two launches are the floor; with 80 classes from boxes they take 5.4 and 1.5 us. From dense masks their bytes
// are the floor: 48 MB at 32 x 80 x 128 x 128, 11 us; it takes 16.8.
// (Without the 1 ptxas stops at 64 registers, and the double version spills.)
template <typename T, typename C, MaskSource kSource>
__global__ void __launch_bounds__(kThreads, 1) loss_kernel(MaskedScaleLoss<T> args, BlockSums sums) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  const QuadTiles tiles{scores.batch, scores.height, scores.width};
  double terms = 0;
  int64_t covered = 0;
  for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    const QuadPosition at(tiles, tile);
    const int64_t cell = at.image * scores.pixels() + at.pixel(scores.width);
    Quad<int32_t> counts;
    if constexpr (kSource == MaskSource::kBoxes) counts = count_boxes(args.source, at);
    if constexpr (kSource == MaskSource::kMasks) counts = count_masks(args.source, at);
    if constexpr (kSource == MaskSource::kEverywhere) counts = load_counts<C>(nullptr, 0, at.count);
    if constexpr (kSource != MaskSource::kEverywhere) store_quad(static_cast<C*>(args.counts) + cell, counts, at.count);
    const int32_t here = quad_sum(counts);
    if (at.count == 0 || here == 0) continue;
    A sum = 0;
    for_channels(scores, at, [&](int64_t, const Quad<A>& score, const Quad<A>& factor) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        if (counts.v[i]) sum += A(counts.v[i]) * scale_term(score.v[i], factor.v[i], scores.hinge);
      }
    });
    terms += double(sum);
    covered += here;
  }
  store_block_sums(sums, terms, covered);
}

// Writes the gradient and reads K, and the scores for the hinge: 1.6 MB for 8 x 3 x 128 x 128 floats, 2.8 us on an
// H200.
template <typename T, typename C>
__global__ void __launch_bounds__(kThreads) backward_kernel(MaskedScaleLossBackward<T> args) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  const QuadTiles tiles{scores.batch, scores.height, scores.width};
  const A scaling = *args.grad_loss * *args.reciprocal;
  for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    const QuadPosition at(tiles, tile);
    if (at.count == 0) continue;
    const int64_t cell = at.image * scores.pixels() + at.pixel(scores.width);
    const Quad<int32_t> counts = load_counts(static_cast<const C*>(args.counts), cell, at.count);
    for_channels(scores, at, [&](int64_t index, const Quad<A>& score, const Quad<A>& factor) {
      Quad<A> gradient;
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const A slope = scale_slope(score.v[i], factor.v[i], scores.hinge);
        gradient.v[i] = counts.v[i] ? A(counts.v[i]) * scaling * slope : A(0);
      }
      store_quad(args.grad_scores + index, gradient, at.count);
    });
  }
}

// Reads the tangent where K > 0, and the scores for the hinge.
template <typename T, typename C>
__global__ void __launch_bounds__(kThreads)
    double_backward_kernel(MaskedScaleLossDoubleBackward<T> args, BlockSums sums) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  const QuadTiles tiles{scores.batch, scores.height, scores.width};
  double terms = 0;
  for (int64_t tile = blockIdx.x; tile < tiles.count(); tile += gridDim.x) {
    const QuadPosition at(tiles, tile);
    if (at.count == 0) continue;
    const int64_t cell = at.image * scores.pixels() + at.pixel(scores.width);
    const Quad<int32_t> counts = load_counts(static_cast<const C*>(args.counts), cell, at.count);
    if (quad_sum(counts) == 0) continue;
    A sum = 0;
    for_channels(scores, at, [&](int64_t index, const Quad<A>& score, const Quad<A>& factor) {
      const Quad<A> tangent = load_quad<A>(args.tangent + index, at.count);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const A slope = scale_slope(score.v[i], factor.v[i], scores.hinge);
        if (counts.v[i]) sum += A(counts.v[i]) * slope * tangent.v[i];
      }
    });
    terms += double(sum);
  }
  store_block_sums(sums, terms, 0);
}

template <typename A>
struct FinishLoss {
  Normaliser normaliser;
  A *loss, *reciprocal;

  __device__ void operator()(double terms, int64_t mask_sum) const {
    const double factor = normaliser.reciprocal(mask_sum);
    *loss = A((terms + normaliser.masked_out(mask_sum)) * factor);
    *reciprocal = A(factor);
  }
};

template <typename A>
struct FinishDoubleBackward {
  const A* reciprocal;
  A* result;

  __device__ void operator()(double terms, int64_t) const { *result = A(terms * double(*reciprocal)); }
};

// One block: adds what the blocks of the launch before it left.
template <typename Finish>
__global__ void __launch_bounds__(kFinishThreads) finish_kernel(BlockSums sums, Finish finish) {
  double terms = 0;
  int64_t covered = 0;
  for (int64_t i = threadIdx.x; i < sums.blocks; i += kFinishThreads) {
    terms += sums.terms[i];
    covered += sums.covered[i];
  }
  terms = block_sum<kFinishThreads>(terms);
  covered = block_sum<kFinishThreads>(covered);
  if (threadIdx.x == 0) finish(terms, covered);
}

template <typename Finish>
void launch_finish(const BlockSums& sums, const Finish& finish, Context& context) {
  LDIE_LAUNCH(finish_kernel<Finish>, dim3(1), dim3(kFinishThreads), 0, context.stream, sums, finish);
}

template <typename T, typename C>
void launch_loss(const MaskedScaleLoss<T>& args, const BlockSums& sums, Context& context) {
  const dim3 grid{unsigned(sums.blocks)}, block{kThreads};
  switch (args.source.source) {
    case MaskSource::kBoxes:
      LDIE_LAUNCH((loss_kernel<T, C, MaskSource::kBoxes>), grid, block, 0, context.stream, args, sums);
      break;
    case MaskSource::kMasks:
      LDIE_LAUNCH((loss_kernel<T, C, MaskSource::kMasks>), grid, block, 0, context.stream, args, sums);
      break;
    case MaskSource::kEverywhere:
      LDIE_LAUNCH((loss_kernel<T, C, MaskSource::kEverywhere>), grid, block, 0, context.stream, args, sums);
  }
}

}  // namespace

template <typename T>
void masked_scale_loss(const MaskedScaleLoss<T>& args, Context& context) {
  const BlockSums sums = block_sums(quad_tiles(args.scores), context);
  args.wide ? launch_loss<T, int32_t>(args, sums, context) : launch_loss<T, uint8_t>(args, sums, context);
  launch_finish(sums, FinishLoss<acc_t<T>>{args.normaliser, args.loss, args.reciprocal}, context);
}

template <typename T>
void masked_scale_loss_backward(const MaskedScaleLossBackward<T>& args, Context& context) {
  const int64_t tiles = quad_tiles(args.scores).count();
  const dim3 grid(grid_side(tiles, kBlocks)), block(kThreads);
  if (args.wide) {
    LDIE_LAUNCH((backward_kernel<T, int32_t>), grid, block, 0, context.stream, args);
  } else {
    LDIE_LAUNCH((backward_kernel<T, uint8_t>), grid, block, 0, context.stream, args);
  }
}

template <typename T>
void masked_scale_loss_double_backward(const MaskedScaleLossDoubleBackward<T>& args, Context& context) {
  const BlockSums sums = block_sums(quad_tiles(args.scores), context);
  const dim3 grid(unsigned(sums.blocks)), block(kThreads);
  if (args.wide) {
    LDIE_LAUNCH((double_backward_kernel<T, int32_t>), grid, block, 0, context.stream, args, sums);
  } else {
    LDIE_LAUNCH((double_backward_kernel<T, uint8_t>), grid, block, 0, context.stream, args, sums);
  }
  launch_finish(sums, FinishDoubleBackward<acc_t<T>>{args.reciprocal, args.result}, context);
}

LDIE_INSTANTIATE(masked_scale_loss, MaskedScaleLoss);
LDIE_INSTANTIATE(masked_scale_loss_backward, MaskedScaleLossBackward);
LDIE_INSTANTIATE(masked_scale_loss_double_backward, MaskedScaleLossDoubleBackward);

}  // namespace ldie::adversarial
