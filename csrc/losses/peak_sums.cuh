// SPDX-License-Identifier: Apache-2.0
// How the blocks' sums of a centre focal loss become the loss. Include it in .cu files.
#pragma once

#include "core/reduce.cuh"
#include "core/simt.cuh"
#include "losses/center_focal_term.h"

namespace ldie::losses {

// One partial sum a block.
struct PeakSums {
  double* losses;
  int64_t* peaks;
  int64_t blocks;
};

inline PeakSums make_peak_sums(Context& context, int64_t blocks) {
  return {context.scratch_array<double>(blocks), context.scratch_array<int64_t>(blocks), blocks};
}

// All threads of the block must call.
template <int kThreads, typename A>
__device__ void store_peak_sum(const PeakSums& sums, int64_t block, A loss, int32_t peaks) {
  const double block_loss = block_sum<kThreads>(double(loss));
  const int32_t block_peaks = block_sum<kThreads>(peaks);
  if (threadIdx.x == 0) {
    sums.losses[block] = block_loss;
    sums.peaks[block] = block_peaks;
  }
}

// One block; reads the partial sums only: 2.7 us on an H200 for center_focal_loss of 32 x 80 x 128 x 128, 7.8 from
// boxes.
template <int kThreads, typename T>
__global__ void __launch_bounds__(kThreads) finish_peak_sums_kernel(PeakSums sums, T* loss, int64_t* num_peaks) {
  const double total = ordered_sum<kThreads>(sums.losses, sums.blocks);
  const int64_t peaks = ordered_sum<kThreads>(sums.peaks, sums.blocks);
  if (threadIdx.x == 0) {
    *loss = T(acc_t<T>(total / peak_divisor(peaks)));
    *num_peaks = peaks;
  }
}

template <typename T>
void finish_peak_sums(const PeakSums& sums, T* loss, int64_t* num_peaks, Context& context) {
  constexpr int kThreads = 512;
  LDIE_LAUNCH((finish_peak_sums_kernel<kThreads, T>), dim3(1), dim3(kThreads), 0, context.stream, sums, loss,
              num_peaks);
}

}  // namespace ldie::losses
