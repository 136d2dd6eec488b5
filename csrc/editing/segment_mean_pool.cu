// SPDX-License-Identifier: Apache-2.0
// A warp has 32 channels, one a lane, and walks over a chunk of an image's pixels: all its lanes are at the same pixel,
// so that runs of one segment are found without a divergent branch, and each lane adds to its own column of a table of
// sums. No two threads add to one number: nothing is atomic but the counting, and the order is fixed.
#include <algorithm>

#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/reduce.cuh"
#include "editing/segment_mean_pool.h"

namespace ldie::editing {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kLeastChunk = 1024, kMostChunk = 1 << 30;  // pixels
constexpr int64_t kPixelsPerSegment = 8;    // of a chunk, so that its sums are at most an eighth of its features
constexpr int64_t kTableBytes = 32 * 1024;  // a table that fits is in shared memory
constexpr int64_t kChannelsPerBlock = 32;   // of the backward's planes

// The sums and counts of chunks.
template <typename A>
struct ChunkSums {
  int64_t chunks, chunk_pixels;  // of an image
  A* sums;                       // [batch, chunks, segments, channels], where counts is not 0
  int32_t* counts;               // [batch, chunks, segments]
  bool table_in_shared;
};

// A block counts the pixels of its chunk, 8 bytes each.
template <typename T>
__global__ void __launch_bounds__(kThreads) count_kernel(SegmentMap map, ChunkSums<T> chunks) {
  for (int64_t i = blockIdx.x; i < map.batch * chunks.chunks; i += gridDim.x) {
    const int64_t image = i / chunks.chunks, begin = i % chunks.chunks * chunks.chunk_pixels;
    const int64_t end = min(map.pixels, begin + chunks.chunk_pixels);
    int32_t* const counts = chunks.counts + i * map.segments;
    for (int64_t segment = threadIdx.x; segment < map.segments; segment += kThreads) counts[segment] = 0;
    __syncthreads();
    for (int64_t pixel = begin + threadIdx.x; pixel < end; pixel += kThreads) {
      const int32_t segment = map.segment(image, pixel);
      if (segment != kNoSegment) atomicAdd(counts + segment, 1);
    }
  }
}

// What a lane needs of kWarpSize pixels from `first` on: its channel's values, in registers. Planes are read along
// their pixels and turned in shared memory.
template <bool kLast, typename T>
__device__ __forceinline__ void load_values(const SegmentMeanPool<T>& args, int64_t image, int64_t group, int64_t first,
                                            int64_t end, acc_t<T> (&values)[kWarpSize]) {
  using A = acc_t<T>;
  const SegmentMap& map = args.map;
  const int lane = int(threadIdx.x);
#pragma unroll
  for (int k = 0; k < kWarpSize; ++k) {
    const int64_t channel = group * kWarpSize + (kLast ? lane : k), pixel = first + (kLast ? k : lane);
    const bool inside = channel < map.channels && pixel < end;
    values[k] = inside ? A(args.features[map.element(image, channel, pixel)]) : A(0);
  }
  if constexpr (!kLast) {
    LDIE_SHARED(A, tile, [kWarpSize][kWarpSize + 1]);
    __syncwarp();  // the tile may still be read by the call before this one
#pragma unroll
    for (int k = 0; k < kWarpSize; ++k) tile[k][lane] = values[k];
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kWarpSize; ++k) values[k] = tile[lane][k];
  }
}

// Adds a tile of pixels to the lane's column of the table.
template <typename A>
__device__ __forceinline__ void add_values(int32_t segment, const A (&values)[kWarpSize], bool inside, A* column,
                                           int64_t stride) {
  const auto add = [&](int32_t to, A sum) {
    if (to != kNoSegment && inside) column[to * stride] += sum;
  };
  int32_t current = __shfl_sync(kFullWarp, segment, 0);
  A sum = 0;
#pragma unroll
  for (int k = 0; k < kWarpSize; ++k) {
    const int32_t next = __shfl_sync(kFullWarp, segment, k);
    if (next != current) {
      add(current, sum);
      current = next;
      sum = 0;
    }
    sum += values[k];
  }
  add(current, sum);
}

// Reads the features once, and 8 bytes a pixel for every 32 channels; writes the sums of the segments that its chunk
// has. Some 6 instructions of a warp for 32 elements.
template <typename T, bool kLast>
__global__ void __launch_bounds__(kWarpSize) sum_kernel(SegmentMeanPool<T> args, ChunkSums<acc_t<T>> chunks) {
  using A = acc_t<T>;
  const SegmentMap& map = args.map;
  const int64_t groups = ceil_div(map.channels, kWarpSize), lane = threadIdx.x;
  for (int64_t i = blockIdx.x; i < map.batch * chunks.chunks * groups; i += gridDim.x) {
    const int64_t group = i % groups, chunk = i / groups;  // of all images
    const int64_t image = chunk / chunks.chunks, begin = chunk % chunks.chunks * chunks.chunk_pixels;
    const int64_t end = min(map.pixels, begin + chunks.chunk_pixels), channel = group * kWarpSize + lane;
    const bool inside = channel < map.channels;
    A* const sums = chunks.sums + chunk * map.segments * map.channels + channel;
    A* column = sums;
    if (chunks.table_in_shared) {
      LDIE_DYNAMIC_SHARED(A, table);
      column = table + lane;
    }
    const int64_t stride = chunks.table_in_shared ? kWarpSize : map.channels;
    for (int64_t segment = 0; segment < map.segments && inside; ++segment) column[segment * stride] = A(0);
    for (int64_t first = begin; first < end; first += kWarpSize) {
      const int64_t pixel = first + lane;
      A values[kWarpSize];
      load_values<kLast>(args, image, group, first, end, values);
      add_values(pixel < end ? map.segment(image, pixel) : kNoSegment, values, inside, column, stride);
    }
    if (!chunks.table_in_shared || !inside) continue;
    const int32_t* const counts = chunks.counts + chunk * map.segments;
    for (int64_t segment = 0; segment < map.segments; ++segment) {
      if (counts[segment] > 0) sums[segment * map.channels] = column[segment * stride];
    }
  }
}

// A mean for each thread, from the chunks in their order.
template <typename T>
__global__ void __launch_bounds__(kThreads) finish_kernel(SegmentMeanPool<T> args, ChunkSums<acc_t<T>> chunks) {
  const SegmentMap& map = args.map;
  const int64_t of_image = map.segments * map.channels;
  for (int64_t i = thread_index<kThreads>(); i < map.batch * of_image; i += grid_threads<kThreads>()) {
    const int64_t image = i / of_image, cell = i % of_image, segment = cell / map.channels;
    double sum = 0;
    int64_t count = 0;
    for (int64_t chunk = image * chunks.chunks; chunk < (image + 1) * chunks.chunks; ++chunk) {
      const int32_t here = chunks.counts[chunk * map.segments + segment];
      if (here > 0) sum += double(chunks.sums[chunk * of_image + cell]);
      count += here;
    }
    args.finish(image, segment, cell % map.channels, sum, count);
  }
}

// Writes the gradient once, a pixel each thread and some channels of it: a segment's gradients are neighbours in
// memory, and those of the next channels come with them into the first-level cache.
template <typename T>
__global__ void __launch_bounds__(kThreads) planes_kernel(SegmentMeanPoolBackward<T> args) {
  const SegmentMap& map = args.map;
  const int64_t blocks = ceil_div(map.pixels, kThreads), groups = ceil_div(map.channels, kChannelsPerBlock);
  for (int64_t i = blockIdx.x; i < map.batch * groups * blocks; i += gridDim.x) {
    const int64_t pixel = i % blocks * kThreads + threadIdx.x, group = i / blocks % groups, image = i / blocks / groups;
    if (pixel >= map.pixels) continue;
    const int32_t segment = map.segment(image, pixel);
    const acc_t<T> share = args.share(image, segment);
    const int64_t begin = group * kChannelsPerBlock, end = min(map.channels, begin + kChannelsPerBlock);
    for (int64_t c = begin; c < end; ++c) {
      args.grad_features[map.element(image, c, pixel)] = args.slope(image, segment, c, share);
    }
  }
}

// The same with a warp for each pixel, where a pixel's channels are neighbours.
template <typename T>
__global__ void __launch_bounds__(kThreads) rows_kernel(SegmentMeanPoolBackward<T> args) {
  const SegmentMap& map = args.map;
  const int64_t lane = threadIdx.x % kWarpSize;
  for (int64_t i = thread_index<kThreads>() / kWarpSize; i < map.batch * map.pixels;
       i += grid_threads<kThreads>() / kWarpSize) {
    const int64_t image = i / map.pixels, pixel = i % map.pixels;
    const int32_t segment = map.segment(image, pixel);
    const acc_t<T> share = args.share(image, segment);
    for (int64_t c = lane; c < map.channels; c += kWarpSize) {
      args.grad_features[map.element(image, c, pixel)] = args.slope(image, segment, c, share);
    }
  }
}

template <typename A>
int64_t table_bytes(const SegmentMap& map) {
  return map.segments * kWarpSize * int64_t(sizeof(A));
}

template <bool kLast, typename T>
void launch_sums(const SegmentMeanPool<T>& args, const ChunkSums<acc_t<T>>& chunks, Context& context) {
  const SegmentMap& map = args.map;
  const int64_t warps = map.batch * chunks.chunks * ceil_div(map.channels, kWarpSize);
  LDIE_LAUNCH((sum_kernel<T, kLast>), dim3(grid_side(warps, kMostBlocksX)), dim3(kWarpSize),
              chunks.table_in_shared ? size_t(table_bytes<acc_t<T>>(map)) : 0, context.stream, args, chunks);
}

}  // namespace

template <typename T>
void segment_mean_pool(const SegmentMeanPool<T>& args, Context& context) {
  using A = acc_t<T>;
  const SegmentMap& map = args.map;
  const int64_t pixels = std::clamp(kPixelsPerSegment * map.segments, kLeastChunk, kMostChunk);
  const int64_t count = ceil_div(map.pixels, pixels), all = map.batch * count;
  const ChunkSums<A> chunks{count, pixels, context.scratch_array<A>(all * map.segments * map.channels),
                            context.scratch_array<int32_t>(all * map.segments), table_bytes<A>(map) <= kTableBytes};
  LDIE_LAUNCH(count_kernel<A>, dim3(grid_side(all)), dim3(kThreads), 0, context.stream, map, chunks);
  map.channels_last ? launch_sums<true>(args, chunks, context) : launch_sums<false>(args, chunks, context);
  LDIE_LAUNCH(finish_kernel<T>, dim3(grid_blocks(map.batch * map.segments * map.channels, kThreads)), dim3(kThreads), 0,
              context.stream, args, chunks);
}

template <typename T>
void segment_mean_pool_backward(const SegmentMeanPoolBackward<T>& args, Context& context) {
  const SegmentMap& map = args.map;
  if (map.channels_last) {
    LDIE_LAUNCH(rows_kernel<T>, dim3(grid_blocks(map.batch * map.pixels, kThreads / kWarpSize)), dim3(kThreads), 0,
                context.stream, args);
    return;
  }
  const int64_t blocks = ceil_div(map.pixels, kThreads) * ceil_div(map.channels, kChannelsPerBlock) * map.batch;
  LDIE_LAUNCH(planes_kernel<T>, dim3(grid_side(blocks)), dim3(kThreads), 0, context.stream, args);
}

LDIE_INSTANTIATE(segment_mean_pool, SegmentMeanPool);
LDIE_INSTANTIATE(segment_mean_pool_backward, SegmentMeanPoolBackward);

}  // namespace ldie::editing
