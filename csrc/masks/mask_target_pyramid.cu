// SPDX-License-Identifier: Apache-2.0
// A block reads 64 rows of a mask, as wide as the mask, once: to bits in shared memory, from which come their moments
// and the cells of strides up to 64, written as one piece. What coarser ones need, a count for each 64 x 64 pixels,
// goes through scratch memory to one block a mask, which also adds up the moments and finds the fullest cells. Runs and
// polygons are drawn to packed rows first. Floor: the bytes of the masks read and of the cells written; 64.5 MB and 5.4
// MB for 60 of 800 x 1344 at strides 4 to 64.
#include <algorithm>

#include "core/grid.cuh"
#include "core/reduce.cuh"
#include "masks/band_levels.cuh"
#include "masks/drawn_masks.cuh"
#include "masks/mask_moments.cuh"
#include "masks/mask_target_pyramid.h"

namespace ldie::masks {
namespace {

constexpr int kThreads = 256;
constexpr int kFineStrides = 7;

LDIE_HD int64_t largest_stride(const MaskTargetPyramid& args) { return args.levels[args.count - 1].stride; }

// What the blocks of a mask leave for the one that ends it.
struct Shares {
  int64_t per_mask;
  MaskMoments* moments;  // [masks, per_mask]
  uint64_t* fullest;     // [masks, fine levels, per_mask]
  int32_t* counts;       // [masks, coarse cells]: of stride 64, and room for 128, 256, ...; null where nobody asks
  int64_t rows, columns, coarse_cells;
  int fine_levels;  // of strides up to 64

  __device__ uint64_t* keys(int64_t n, int level) const { return fullest + (n * fine_levels + level) * per_mask; }
};

// Blocks (mask and strip, bands).
__global__ void __launch_bounds__(kThreads) fine_levels_kernel(MaskTargetPyramid args, Shares shares, int64_t strips) {
  using Reducer = BandReducer<kThreads>;
  LDIE_SHARED(Reducer::Bits, bits, );
  LDIE_SHARED(Reducer::Cells, cells, );
  LDIE_SHARED(uint32_t, words, [Reducer::kWords]);
  LDIE_SHARED(uint64_t, fullest, [kFineStrides]);
  const MaskSet& masks = args.masks();
  const int64_t n = blockIdx.x / strips, strip = blockIdx.x % strips, left = strip * kBandColumns;
  const Reducer reducer(args, bits, cells, words);
  if (threadIdx.x < kFineStrides) fullest[threadIdx.x] = 0;
  MaskMoments moments;
  for (int64_t top = int64_t(blockIdx.y) * kBandStride; top < masks.height; top += int64_t(gridDim.y) * kBandStride) {
    const Band<const uint8_t> band(masks.mask(n), masks.row_bytes(), masks.packed(), top, left, kBandStride,
                                   masks.height, masks.width);
    bits.load(band);
    __syncthreads();
    bool any = false;
    const int columns = ceil_div(band.width, 32);
    for (int i = threadIdx.x; i < band.rows * columns; i += kThreads) {
      const int y = i / columns, x = 32 * (i - y * columns);
      const uint32_t pixels = bits.pixels(band, y, x);
      any |= pixels != 0;
      moments.add(pixels, left + x, top + y);
    }
    const bool drawn = __syncthreads_or(any) != 0;
    if (drawn && args.counts() && largest_stride(args) >= kSquare) {
      cells.count(bits, band, int(largest_stride(args)));
      __syncthreads();
    }
    for (int i = 0; i < shares.fine_levels; ++i) {
      const LevelBand part(args.levels[i], top, left);
      if (args.fractions) {
        reducer.write_fractions(band, part, n, drawn);
        continue;
      }
      uint64_t key = reducer.write_bits(band, part, n, drawn);
      if (!drawn || !args.counts()) continue;
      key = block_reduce<kThreads>(key, uint64_t(0), Maximum());
      if (threadIdx.x == 0) fullest[i] = max(fullest[i], key);
    }
    for (int x = threadIdx.x; shares.counts && x < ceil_div(band.width, kBandStride); x += kThreads) {
      int32_t* const row = shares.counts + n * shares.coarse_cells + top / kBandStride * shares.columns;
      row[left / kBandStride + x] = drawn ? cells.cell(bits, band, kBandStride, 0, x) : 0;
    }
    __syncthreads();
  }
  moments = block_sum_moments<kThreads>(moments);
  const int64_t share = strip * gridDim.y + blockIdx.y;
  if (threadIdx.x == 0) shares.moments[n * shares.per_mask + share] = moments;
  if (int(threadIdx.x) < shares.fine_levels) shares.keys(n, int(threadIdx.x))[share] = fullest[threadIdx.x];
}

// ---- what one block does for a mask: coarse levels are small

struct CoarseCounts {
  int32_t* counts;
  int64_t rows, columns;

  // Of the next stride, behind these in memory. All threads call.
  __device__ CoarseCounts halved() const {
    const CoarseCounts half{counts + rows * columns, ceil_div(rows, 2), ceil_div(columns, 2)};
    for (int64_t i = threadIdx.x; i < half.rows * half.columns; i += kThreads) {
      const int64_t y = i / half.columns * 2, x = i % half.columns * 2;
      half.counts[i] = at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1);
    }
    __syncthreads();
    return half;
  }

  __device__ int32_t at(int64_t y, int64_t x) const { return y < rows && x < columns ? counts[y * columns + x] : 0; }
};

// Writes a level of bits from is_set(y, x).
template <typename IsSet>
__device__ void write_level(const MaskTargetPyramid& args, const MaskLevel& level, int64_t n, const IsSet& is_set) {
  const int64_t row_bytes = args.row_bytes(level), cells = args.packed ? 8 : 1;
  uint8_t* const mask = args.mask(level, n);
  for (int64_t i = threadIdx.x; i < args.size(level); i += kThreads) {
    const int64_t y = i / row_bytes, first = i % row_bytes * cells;
    uint32_t byte = 0;
    for (int64_t x = first; x < min(first + cells, level.width); ++x) byte |= uint32_t(is_set(y, x)) << (x - first);
    mask[i] = uint8_t(byte);
  }
}

__device__ void write_counted_level(const MaskTargetPyramid& args, const MaskLevel& level, int64_t n,
                                    const CoarseCounts& counts) {
  if (args.fractions) {
    float* const shares = args.shares(level, n);
    for (int64_t i = threadIdx.x; i < args.size(level); i += kThreads) shares[i] = level.fraction(counts.counts[i]);
    return;
  }
  write_level(args, level, n, [&](int64_t y, int64_t x) { return counts.at(y, x) >= level.half(); });
  uint64_t key = 0;
  for (int64_t i = threadIdx.x; i < counts.rows * counts.columns; i += kThreads) {
    key = max(key, FullestCell::key(counts.counts[i], i));
  }
  key = block_reduce<kThreads>(key, uint64_t(0), Maximum());
  if (threadIdx.x == 0) set_fullest(args, level, n, key);
}

__global__ void __launch_bounds__(kThreads) end_masks_kernel(MaskTargetPyramid args, Shares shares) {
  const int64_t n = blockIdx.x;
  MaskMoments moments;
  for (int64_t i = threadIdx.x; i < shares.per_mask; i += kThreads)
    moments.add(shares.moments[n * shares.per_mask + i]);
  moments = block_sum_moments<kThreads>(moments);
  if (threadIdx.x == 0) args.centers.write(n, moments);
  for (int i = 0; args.mode == PyramidMode::area && i < shares.fine_levels; ++i) {
    uint64_t key = 0;
    for (int64_t share = threadIdx.x; share < shares.per_mask; share += kThreads) {
      key = max(key, shares.keys(n, i)[share]);
    }
    key = block_reduce<kThreads>(key, uint64_t(0), Maximum());
    if (threadIdx.x == 0) set_fullest(args, args.levels[i], n, key);
  }
  const bool bilinear = args.mode == PyramidMode::bilinear;
  const MaskSet& masks = args.masks();
  const auto pixel_at = [&](int64_t y, int64_t x) {
    return uint32_t(y < masks.height && x < masks.width && masks.holds(n, y, x));
  };
  CoarseCounts counts{shares.counts + n * shares.coarse_cells, shares.rows, shares.columns};
  int64_t stride = kBandStride;
  for (int i = shares.fine_levels; i < args.count; ++i) {
    const MaskLevel& level = args.levels[i];
    if (!args.counts()) {
      write_level(args, level, n, [&](int64_t y, int64_t x) {
        return look_at_cells<uint32_t>(bilinear, level.stride, y, x, pixel_at) & 1u;
      });
      continue;
    }
    for (; stride < level.stride; stride *= 2) counts = counts.halved();
    write_counted_level(args, level, n, counts);
  }
}

Shares make_shares(const MaskTargetPyramid& args, int64_t per_mask, Context& context) {
  const MaskSet& masks = args.masks();
  Shares shares{.per_mask = per_mask,
                .moments = context.scratch_array<MaskMoments>(masks.count * per_mask),
                .fullest = nullptr,
                .counts = nullptr,
                .rows = ceil_div(masks.height, kBandStride),
                .columns = ceil_div(masks.width, kBandStride),
                .coarse_cells = 0,
                .fine_levels = 0};
  while (shares.fine_levels < args.count && args.levels[shares.fine_levels].stride <= kBandStride) ++shares.fine_levels;
  shares.fullest = context.scratch_array<uint64_t>(masks.count * shares.fine_levels * per_mask);
  if (!args.counts() || largest_stride(args) <= kBandStride) return shares;
  for (int64_t stride = kBandStride; stride <= largest_stride(args); stride *= 2) {
    shares.coarse_cells += ceil_div(masks.height, stride) * ceil_div(masks.width, stride);
  }
  shares.counts = context.scratch_array<int32_t>(masks.count * shares.coarse_cells);
  return shares;
}

}  // namespace

void mask_target_pyramid(const MaskTargetPyramid& given, Context& context) {
  constexpr int64_t kMostBands = 256;  // blocks of a mask's strip; they take more than one band each
  MaskTargetPyramid args = given;
  args.centers.masks = with_pixels(context, given.masks());
  const MaskSet& masks = args.masks();
  const int64_t strips = band_strips(masks.width);
  const unsigned bands = grid_side(ceil_div(masks.height, kBandStride), kMostBands);
  const Shares shares = make_shares(args, strips * bands, context);
  LDIE_LAUNCH(fine_levels_kernel, dim3(unsigned(masks.count * strips), bands), dim3(kThreads), 0, context.stream, args,
              shares, strips);
  LDIE_LAUNCH(end_masks_kernel, dim3(unsigned(masks.count)), dim3(kThreads), 0, context.stream, args, shares);
}

}  // namespace ldie::masks
