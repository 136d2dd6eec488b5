// SPDX-License-Identifier: Apache-2.0
// A warp draws 32 columns of 32 rows of a mask; a lane owns a column. The rows of cells under the band are resized to
// the columns once and wait in shared memory; then a row of pixels is one to four of them. Where none of them comes
// near to the threshold, or all are above it, that is left out. Floor: the maps that are drawn, and the masks, of a
// byte or a bit a pixel: for 100 maps of 100 x 168 on 480 x 640 6.7 MB and 30.7 or 3.8 MB, 9 or 3 us; resizing 9 rows
// of cells a band takes 36 products a lane, the pixels 64 to 128 where they are worked out. By score, the masks are
// drawn to words of bits first, and a thread then goes through those of its 32 pixels in the order of the ranks: as
// many bits again are written and read.
#include "core/grid.cuh"
#include "core/hd.h"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/limits.h"
#include "masks/band.cuh"
#include "masks/composite_masks.h"
#include "suppression/mask_order.cuh"

namespace ldie::masks {
namespace {

constexpr int kRows = kWarpSize, kThreads = 256, kWarps = kThreads / kWarpSize;
constexpr int kCellRows = 16;  // that a band keeps; where pixels are fewer than cells it may read more, and keeps none

// The rows of a band: what each reads, and which cells that is in all.
template <typename A>
struct BandRows {
  ResizeTaps<A> taps[kRows];
  int counts[kRows];

  __device__ int32_t first() const { return taps[0].cells[0]; }
  __device__ int64_t cell_rows() const { return taps[kRows - 1].cells[counts[kRows - 1] - 1] - first() + 1; }
};

// A row of cells at the lane's column; 0 beside the mask.
template <typename T>
__device__ acc_t<T> resized_cell(const T* cells, const ResizeTaps<acc_t<T>>& x) {
  acc_t<T> sum = 0;
#pragma unroll
  for (int k = 0; k < kMostTaps; ++k) {
    if (x.cells[k] >= 0) sum += x.weights[k] * acc_t<T>(cells[x.cells[k]]);
  }
  return sum;
}

// The sum over a row's taps of what `value` gives for each.
template <typename A, typename Value>
__device__ A row_sum(const BandRows<A>& rows, int row, const Value& value) {
  A sum = rows.taps[row].weights[0] * value(rows.taps[row].cells[0]);
  for (int k = 1; k < rows.counts[row]; ++k) sum += rows.taps[row].weights[k] * value(rows.taps[row].cells[k]);
  return sum;
}

// 32 columns of the band by one warp, those of lanes that are not `inside` 0: bits[row * words].
template <typename T>
__device__ void draw_columns(const CompositeMasks<T>& args, const T* map, const ResizeTaps<acc_t<T>>& x, bool inside,
                             const BandRows<acc_t<T>>& rows, acc_t<T> (*kept)[kWarpSize], uint32_t* bits, int words) {
  using A = acc_t<T>;
  const int lane = int(threadIdx.x) % kWarpSize;
  const int64_t width = args.width;
  const A threshold = A(args.threshold);
  const int32_t first = rows.first();
  const int64_t cell_rows = rows.cell_rows();
  const bool keeps = cell_rows <= kCellRows;
  bool some = true, all = false;
  if (keeps) {
    const A margin = threshold_margin(threshold), low = threshold - margin, high = threshold + margin;
    some = false;
    all = true;
    for (int row = 0; row < int(cell_rows); ++row) {
      const A value = resized_cell(map + (first + row) * width, x);
      kept[row][lane] = value;
      some = some || value > low;
      all = all && value >= high && value < kInfinite<A>;
    }
  }
  const unsigned columns = __ballot_sync(kFullWarp, inside);
  uint32_t own = 0;  // the bits of row `lane`
  if (__all_sync(kFullWarp, all || !inside)) {
    own = columns;
  } else if (__any_sync(kFullWarp, some && inside)) {
    for (int row = 0; row < kRows; ++row) {
      const A value = keeps ? row_sum(rows, row, [&](int32_t cell) { return kept[cell - first][lane]; })
                            : row_sum(rows, row, [&](int32_t cell) { return resized_cell(map + cell * width, x); });
      const unsigned pixels = __ballot_sync(kFullWarp, value > threshold) & columns;
      if (row == lane) own = pixels;
    }
  }
  bits[lane * words] = own;
}

// Words of bits for the masks to be painted: [count, height, row_words()].
struct DrawnWords {
  uint32_t* words;
  int64_t height, width;

  LDIE_HD int64_t row_words() const { return ceil_div(width, 32); }
  LDIE_HD int64_t mask_words() const { return height * row_words(); }
};

// A band's bits as words; without `any` they are 0.
__device__ inline void store_words(const DrawnWords& drawn, int64_t mask, int64_t top, int64_t left, bool any,
                                   const uint32_t* bits, int words) {
  const int64_t row_words = drawn.row_words(), first = left / kWarpSize;
  const int count = int(min(int64_t(words), row_words - first)), rows = int(min(int64_t(kRows), drawn.height - top));
  uint32_t* const to = drawn.words + mask * drawn.mask_words() + top * row_words + first;
  for (int row = int(threadIdx.x) / kWarpSize; row < rows; row += kWarps) {
    for (int word = int(threadIdx.x) % kWarpSize; word < count; word += kWarpSize) {
      to[row * row_words + word] = any ? bits[row * words + word] : 0;
    }
  }
}

// Blocks (strip of a mask, bands): masks in their own form, or words if there are any.
template <typename T>
__global__ void __launch_bounds__(kThreads, sizeof(acc_t<T>) == 4 ? 3 : 2)
    composite_masks_kernel(CompositeMasks<T> args, int64_t strips, DrawnWords drawn) {
  using A = acc_t<T>;
  LDIE_SHARED(BandRows<A>, rows, );
  LDIE_SHARED(A, kept, [kWarps][kCellRows][kWarpSize]);
  LDIE_DYNAMIC_SHARED(uint32_t, bits);
  const int64_t mask = blockIdx.x / strips, left = blockIdx.x % strips * kBandColumns;
  const T* const map = args.map(mask);
  const int64_t height = args.out.height, width = args.out.width;
  const int words = band_words(width), lane = int(threadIdx.x) % kWarpSize, warp = int(threadIdx.x) / kWarpSize;
  for (int64_t top = int64_t(blockIdx.y) * kRows; top < height; top += int64_t(gridDim.y) * kRows) {
    if (threadIdx.x < kRows) {
      rows.taps[lane] = args.axis_y().taps(min(top + lane, height - 1));
      rows.counts[lane] = rows.taps[lane].compact();
    }
    __syncthreads();
    for (int word = warp; map != nullptr && word < words; word += kWarps) {
      const int64_t column = left + word * kWarpSize + lane;
      const bool inside = column < width;
      const ResizeTaps<A> x = inside ? args.axis_x().taps(column) : ResizeTaps<A>::none();
      draw_columns(args, map, x, inside, rows, kept[warp], bits + word, words);
    }
    __syncthreads();
    if (drawn.words == nullptr) {
      const Band<uint8_t> band(args.out.mask(mask), args.out.row_bytes(), args.out.packed, top, left, kRows, height,
                               width);
      store_band<kThreads>(band, bits, words, map != nullptr);
    } else {
      store_words(drawn, mask, top, left, map != nullptr, bits, words);
    }
    __syncthreads();
  }
}

constexpr int kPaintThreads = 128, kAtOnce = 8;

// A thread takes 32 pixels of all masks; `order` has the masks by rank, or is null.
__global__ void __launch_bounds__(kPaintThreads)
    paint_kernel(DrawnWords drawn, const uint32_t* order, int64_t count, MaskOutput out) {
  const int64_t step = grid_threads<kPaintThreads>(), per_mask = drawn.mask_words(), row_words = drawn.row_words();
  for (int64_t i = thread_index<kPaintThreads>(); i < per_mask; i += step) {
    const int64_t y = i / row_words, x = (i - y * row_words) * 32;
    const int32_t pixels = int32_t(min(int64_t(32), out.width - x));
    uint32_t taken = 0;
    for (int64_t begin = 0; begin < count; begin += kAtOnce) {
      int64_t masks[kAtOnce];
      uint32_t words[kAtOnce];
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        const int64_t rank = min(begin + k, count - 1);
        masks[k] = order ? int64_t(order[rank]) : rank;
        words[k] = drawn.words[masks[k] * per_mask + i];
      }
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (begin + k >= count) break;
        const uint32_t own = words[k] & ~taken;
        taken |= words[k];
        uint8_t* const row = out.mask(masks[k]) + y * out.row_bytes();
        store_cells(row, x, min(pixels, kCellsPerStore), own, out.packed);
        if (pixels > kCellsPerStore) {
          store_cells(row, x + kCellsPerStore, pixels - kCellsPerStore, own >> kCellsPerStore, out.packed);
        }
      }
    }
  }
}

}  // namespace

template <typename T>
void composite_masks(const CompositeMasks<T>& args, Context& context) {
  const int64_t strips = band_strips(args.out.width), bands = ceil_div(args.out.height, kRows);
  const dim3 grid(unsigned(args.count * strips), grid_side(bands));
  const size_t shared = sizeof(uint32_t) * size_t(kRows * band_words(args.out.width));
  DrawnWords drawn{nullptr, args.out.height, args.out.width};
  if (args.exclusive) drawn.words = context.scratch_array<uint32_t>(args.count * drawn.mask_words());
  LDIE_LAUNCH(composite_masks_kernel<T>, grid, dim3(kThreads), shared, context.stream, args, strips, drawn);
  if (!args.exclusive) return;
  const uint32_t* const order = args.scores ? suppression::rows_by_score(context, args.scores, args.count) : nullptr;
  LDIE_LAUNCH(paint_kernel, dim3(grid_blocks(drawn.mask_words(), kPaintThreads)), dim3(kPaintThreads), 0,
              context.stream, drawn, order, args.count, args.out);
}

LDIE_INSTANTIATE(composite_masks, CompositeMasks);

}  // namespace ldie::masks
