// SPDX-License-Identifier: Apache-2.0
// Writes 16 bytes a cell (62 KB an image of SOLO's 3872 cells, 1 MB for 16) and reads some 60 an object: the launch
// decides. Each object costs a block some hundred operations on doubles, once, by one of its threads, and each of its
// threads four comparisons.
#include "core/grid.cuh"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/simt.cuh"
#include "masks/solo_assign.h"

namespace ldie::masks {
namespace {

constexpr int kThreads = 128;

// What a level gives an object; nothing where it does not take it.
struct Claim {
  CellRegion region, mask_region;
  int64_t area;
};

template <typename T>
__device__ Claim claim(const SoloAssign<T>& args, const SoloGrid& level, int64_t row) {
  const SoloObject object = args.object(row);
  Claim result{};
  if (!args.takes(level, object)) return result;
  result.region = args.region(level, object);
  if (args.by_mask) result.mask_region = args.mask_region(level, object);
  result.area = args.areas[row];
  return result;
}

// A thread decides one cell, of a level that its block is for, in the images from blockIdx.y on: of the objects that
// want it, whose claims are listed a block at a time, the last one has it, so that nothing is sorted or written twice.
template <typename T>
__global__ void __launch_bounds__(kThreads) solo_assign_kernel(SoloAssign<T> args) {
  LDIE_SHARED(Claim, claims, [kThreads]);
  int64_t first = int64_t(blockIdx.x) * kThreads;
  int i = 0;
  for (int64_t cells = 0; i < args.grids.count; ++i, first -= cells) {
    cells = round_up(args.grids.levels[i].side * args.grids.levels[i].side, int64_t(kThreads));
    if (first < cells) break;
  }
  const SoloGrid& level = args.grids.levels[i];
  const int32_t side = int32_t(level.side), cell = int32_t(first) + int32_t(threadIdx.x);  // below 2^30 and a block
  const int32_t y = cell / side, x = cell - y * side;

  for (int64_t image = blockIdx.y; image < args.batch; image += gridDim.y) {
    const RowRange range = row_range(args.offsets, image, args.rows);
    int64_t holder = -1, area = 0;
    for (int64_t base = range.begin; base < range.end; base += kThreads) {
      const int count = int(min(int64_t(kThreads), range.end - base));
      __syncthreads();
      if (int(threadIdx.x) < count) claims[threadIdx.x] = claim(args, level, base + threadIdx.x);
      __syncthreads();
      for (int k = 0; k < count; ++k) {
        const Claim& own = claims[k];
        if (holder >= 0 && !args.paints_over(own.area, area)) continue;
        if (!own.region.holds(y, x) && !(own.mask_region.holds(y, x) && args.in_mask(level, base + k, y, x))) continue;
        holder = base + k;
        area = own.area;
      }
    }
    if (y >= side) continue;  // beyond the level's last cell; no barrier follows before the next image's
    const int64_t at = image * args.grids.cells + level.first_cell + cell;
    args.cell_labels[at] = holder >= 0 ? args.labels[holder] : -1;
    args.cell_instances[at] = holder;
  }
}

}  // namespace

template <typename T>
void solo_assign(const SoloAssign<T>& args, Context& context) {
  int64_t blocks = 0;
  for (int i = 0; i < args.grids.count; ++i) {
    blocks += ceil_div(args.grids.levels[i].side * args.grids.levels[i].side, int64_t(kThreads));
  }
  const dim3 grid(unsigned(blocks), grid_side(args.batch));
  LDIE_LAUNCH(solo_assign_kernel<T>, grid, dim3(kThreads), 0, context.stream, args);
}

LDIE_INSTANTIATE_WIDE(solo_assign, SoloAssign);

}  // namespace ldie::masks
