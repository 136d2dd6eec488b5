// SPDX-License-Identifier: Apache-2.0
// A thread follows one column; neighbours in a warp are neighbours in memory. The masks are read twice, to count the
// changes of every column and, when a prefix sum has given each column its place, to write them. Floor: twice the bytes
// of the masks, plus 8 bytes a run.
#include "core/device_sort.cuh"
#include "core/pack.cuh"
#include "core/simt.cuh"
#include "masks/rle_encode.h"

namespace ldie {
namespace {

constexpr int kThreads = 128;
constexpr int kRowsRead = 16;    // at a time
constexpr int kBlocksPerSm = 8;  // no more than columns fill, so that registers hold the rows on their way

// A column of a mask: a pixel is one bit of a byte.
struct Column {
  const uint8_t* top;
  int64_t row_bytes;
  int bit;

  __device__ Column(const RleEncode& args, int64_t mask, int64_t x)
      : top(args.masks + mask * args.mask_bytes() + (args.packed ? x / 8 : x)),
        row_bytes(args.row_bytes()),
        bit(args.packed ? int(x % 8) : 0) {}

  __device__ uint32_t pixel(int64_t y) const { return top[y * row_bytes] >> bit & 1u; }

  // Pixels y to y + rows - 1 as bits, at most kRowsRead. The loads do not wait for each other.
  __device__ uint32_t pixels(int64_t y, int rows) const {
    const uint8_t* cell = top + y * row_bytes;
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < kRowsRead; ++i, cell += row_bytes) {
      if (i < rows) bits |= (*cell >> bit & 1u) << i;
    }
    return bits;
  }
};

// Calls found(position) for each change of a column, from the top.
template <typename Found>
__device__ void follow_column(const RleEncode& args, int64_t index, const Found& found) {
  const int64_t mask = index / args.width, x = index % args.width;
  const Column column(args, mask, x);
  uint32_t before = x > 0 ? Column(args, mask, x - 1).pixel(args.height - 1) : 0;
  for (int64_t y = 0; y < args.height; y += kRowsRead) {
    const int rows = int(min(int64_t(kRowsRead), args.height - y));
    const uint32_t bits = column.pixels(y, rows);
    uint32_t changes = (bits ^ (bits << 1 | before)) & ((1u << rows) - 1);
    for (; changes; changes &= changes - 1) found(x * args.height + y + __ffs(int(changes)) - 1);
    before = bits >> (kRowsRead - 1);
  }
}

// changes[1 + index of a column] = how many; changes[0] = 0.
__global__ void __launch_bounds__(kThreads, kBlocksPerSm) count_changes_kernel(RleEncode args, int64_t* changes) {
  const int64_t columns = args.count * args.width, step = int64_t(gridDim.x) * kThreads;
  for (int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x; index <= columns; index += step) {
    int64_t count = 0;
    if (index > 0 && args.height > 0) follow_column(args, index - 1, [&](int64_t) { ++count; });
    changes[index] = count;
  }
}

// Each mask has one run more than changes.
__global__ void __launch_bounds__(kThreads) offsets_kernel(RleEncode args, const int64_t* places) {
  const int64_t step = int64_t(gridDim.x) * kThreads;
  for (int64_t n = int64_t(blockIdx.x) * kThreads + threadIdx.x; n <= args.count; n += step) {
    args.offsets[n] = places[n * args.width] + n;
  }
}

// Run i of a mask ends at its change i; the difference to the run before is taken by the next kernel.
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    ends_kernel(RleEncode args, const int64_t* places, Runs ends) {
  const int64_t columns = args.count * args.width, step = int64_t(gridDim.x) * kThreads;
  for (int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x; index < columns; index += step) {
    int64_t place = places[index] + index / args.width;
    follow_column(args, index, [&](int64_t position) {
      if (place < ends.capacity) ends.counts[place] = int32_t(position);
      ++place;
    });
  }
}

__global__ void __launch_bounds__(kThreads) runs_kernel(RleEncode args, const int32_t* ends, Runs runs) {
  const int64_t mask = blockIdx.x, begin = args.offsets[mask], last = args.offsets[mask + 1] - 1;
  for (int64_t i = begin + threadIdx.x; i <= last && i < runs.capacity; i += kThreads) {
    const int32_t end = i == last ? int32_t(args.pixels()) : ends[i];
    runs.counts[i] = end - (i == begin ? 0 : ends[i - 1]);
  }
}

}  // namespace

void rle_encode(const RleEncode& args, RunAllocator& allocator, Context& context) {
  const int64_t columns = args.count * args.width;
  int64_t* const places = context.scratch_array<int64_t>(columns + 1);
  const dim3 grid(loop_blocks(columns + 1, kThreads)), block(kThreads);
  LDIE_LAUNCH(count_changes_kernel, grid, block, 0, context.stream, args, places);
  inclusive_sum(context, places, places, columns + 1);
  LDIE_LAUNCH(offsets_kernel, dim3(loop_blocks(args.count + 1, kThreads)), block, 0, context.stream, args, places);
  const Runs runs = allocator.allocate();
  int32_t* const ends = context.scratch_array<int32_t>(runs.capacity);
  if (args.height > 0)
    LDIE_LAUNCH(ends_kernel, grid, block, 0, context.stream, args, places, Runs{ends, runs.capacity});
  LDIE_LAUNCH(runs_kernel, dim3(unsigned(args.count)), block, 0, context.stream, args, ends, runs);
}

}  // namespace ldie
