// SPDX-License-Identifier: Apache-2.0
// A prefix sum tells where runs end; a block then draws 64 rows of a mask, as wide as the mask, in shared memory and
// writes them as one piece. Floor: the bytes of the masks, written once. A run costs 12 bytes, and each band reads them
// again. The drawing takes 33 us on an H200 for 100 of 800 x 1333, 76 % of a copy's speed; 20 us packed.
#include "core/grid.cuh"
#include "core/integers.h"
#include "masks/bit_canvas.cuh"
#include "masks/rle_decode.h"
#include "masks/run_ends.cuh"

namespace ldie::masks {
namespace {

constexpr int kRows = 64, kThreads = 256, kBlocksPerSm = 4;
using Canvas = BitCanvas<kRows, kThreads>;

__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    rle_decode_kernel(RleDecode args, const int64_t* ends, int64_t strips) {
  LDIE_DYNAMIC_SHARED(uint32_t, memory);
  const int64_t index = blockIdx.x / strips, left = blockIdx.x % strips * kBandColumns;
  const RowRange runs = args.runs.runs_of(index);
  const int64_t start = runs.begin == 0 ? 0 : ends[runs.begin - 1];
  uint8_t* const mask = args.out.mask(index);
  for (int64_t top = int64_t(blockIdx.y) * kRows; top < args.out.height; top += int64_t(gridDim.y) * kRows) {
    Canvas canvas(memory, band_words(args.out.width), top, left);
    canvas.begin_piece();
    for (int64_t i = runs.begin + 1 + 2 * int64_t(threadIdx.x); i < runs.end; i += 2 * kThreads) {
      toggle_run(max(int64_t(0), ends[i - 1] - start), min(args.out.pixels(), ends[i] - start), args.out.height, left,
                 min(args.out.width, left + kBandColumns),
                 [&](int64_t row, int64_t column) { canvas.toggle(row, column); });
    }
    canvas.end_piece();
    canvas.store(mask, args.out.row_bytes(), args.out.packed, args.out.height, args.out.width);
    __syncthreads();
  }
}

}  // namespace

void rle_decode(const RleDecode& args, Context& context) {
  const int64_t* const ends = run_ends(args.runs, context);
  const int64_t strips = band_strips(args.out.width), bands = ceil_div(args.out.height, kRows);
  const dim3 grid(unsigned(args.runs.count * strips), grid_side(bands));
  LDIE_LAUNCH(rle_decode_kernel, grid, dim3(kThreads), Canvas::bytes(band_words(args.out.width)), context.stream, args,
              ends, strips);
}

}  // namespace ldie::masks
