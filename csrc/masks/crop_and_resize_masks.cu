// SPDX-License-Identifier: Apache-2.0
// A thread makes one bin; neighbours read neighbouring cells, from the cache. Floor: the cells under the RoIs, a byte
// or a bit each, and rois * size^2 results; the samples, four cells each, are more work than that.
#include "core/simt.cuh"
#include "masks/crop_and_resize_masks.h"

namespace ldie {
namespace {

constexpr int kThreads = 128;

template <typename A>
__device__ A cell(const CropMasks<A>& args, const uint8_t* row, int32_t x) {
  return args.packed ? A(row[x / 8] >> x % 8 & 1) : A(row[x]);
}

template <typename A>
__device__ A sum_samples(const CropMasks<A>& args, int64_t mask, const RoiAxis<A>& axis_y, const RoiAxis<A>& axis_x,
                         int64_t p, int64_t q) {
  A sum = A(0);
  AxisPlace<A> y, x;
  for (int32_t i = 0; i < axis_y.grid; ++i) {
    if (!axis_y.place(p, i, y)) continue;
    const uint8_t *const upper = args.mask_row(mask, y.low), *const lower = args.mask_row(mask, y.high);
    for (int32_t j = 0; j < axis_x.grid; ++j) {
      if (!axis_x.place(q, j, x)) continue;
      sum += crop_sample(y.fraction, x.fraction, cell(args, upper, x.low), cell(args, upper, x.high),
                         cell(args, lower, x.low), cell(args, lower, x.high));
    }
  }
  return sum;
}

template <typename A>
__global__ void __launch_bounds__(kThreads, 1) crop_masks_kernel(CropMasks<A> args) {
  const int64_t roi = blockIdx.x, bins = args.size * args.size, mask = args.mask_of(roi);
  const RoiAxis<A> y = args.axis_y(roi), x = args.axis_x(roi);
  const int64_t samples = int64_t(y.grid) * x.grid;
  for (int64_t bin = int64_t(blockIdx.y) * kThreads + threadIdx.x; bin < bins; bin += int64_t(gridDim.y) * kThreads) {
    const A sum = mask < 0 ? A(0) : sum_samples(args, mask, y, x, bin / args.size, bin % args.size);
    args.store(roi * bins + bin, sum / A(samples > 1 ? samples : 1));
  }
}

}  // namespace

template <typename A>
void crop_and_resize_masks(const CropMasks<A>& args, Context& context) {
  const int64_t blocks = (args.size * args.size + kThreads - 1) / kThreads;
  const dim3 grid(unsigned(args.rois), unsigned(blocks < 65535 ? blocks : 65535));
  LDIE_LAUNCH(crop_masks_kernel<A>, grid, dim3(kThreads), 0, context.stream, args);
}

template void crop_and_resize_masks(const CropMasks<float>&, Context&);
template void crop_and_resize_masks(const CropMasks<double>&, Context&);

}  // namespace ldie
