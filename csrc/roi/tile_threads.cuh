// SPDX-License-Identifier: Apache-2.0
// How the threads of RoIAlign's backward lie on a tile, and how they read and write there.
#pragma once

#include "core/pack.cuh"
#include "roi/roi_tiles.cuh"

namespace ldie::roi {

// How threads lie on a tile: at `cell` along the axis that is not in registers, at `channel` of the block.
template <typename T>
struct PlaneThreads {
  using A = acc_t<T>;
  static constexpr int kWidth = sizeof(A) == 8 ? 2 : 4;
  static constexpr int kThreadCells = 16;  // a warp's 32 would lie beside most RoIs; 8 would read gradients more often
  static constexpr int kBlockChannels = kTileThreads / kThreadCells * kWidth;
  static constexpr bool kAcrossIsY = true;

  static __device__ int cell() { return int(threadIdx.x) % kThreadCells; }
  static __device__ int channel() { return int(threadIdx.x) / kThreadCells * kWidth; }

  // Reads kWidth channels of a RoI's gradient; where channels end, the last stands again.
  class Reader {
   public:
    __device__ Reader(const RoiLayout<A>& layout, const T* grad, int64_t channel) : bins_x_(layout.bins_x) {
#pragma unroll
      for (int v = 0; v < kWidth; ++v) planes_[v] = grad + min(channel + v, layout.channels - 1) * layout.bins();
    }
    __device__ Pack<T, kWidth> operator()(int across, int along) const {
      const int64_t place = across * bins_x_ + along;
      Pack<T, kWidth> result;
#pragma unroll
      for (int v = 0; v < kWidth; ++v) result.values[v] = planes_[v][place];
      return result;
    }

   private:
    const T* planes_[kWidth];
    int64_t bins_x_;
  };

  static __device__ void store(T* map, const RoiLayout<A>& layout, const RoiLevel<A>& level, int64_t channel, int32_t y,
                               int32_t x, const Pack<A, kWidth>& sums) {
#pragma unroll
    for (int v = 0; v < kWidth; ++v) {
      if (channel + v >= layout.channels) continue;
      map[(channel + v) * level.cells() + int64_t(y) * level.width + x] = T(sums.values[v]);
    }
  }
};

template <typename T, int kPackWidth>
struct ChannelThreads {
  using A = acc_t<T>;
  static constexpr int kWidth = kPackWidth, kThreadCells = kTileWarps, kBlockChannels = kWarpSize * kWidth;
  static constexpr bool kAcrossIsY = false;

  static __device__ int cell() { return int(threadIdx.x) / kWarpSize; }
  static __device__ int channel() { return int(threadIdx.x) % kWarpSize * kWidth; }

  class Reader {
   public:
    __device__ Reader(const RoiLayout<A>& layout, const T* grad, int64_t channel)
        : grad_(grad + channel), across_(layout.channels), along_(layout.bins_x * layout.channels) {}
    __device__ Pack<T, kWidth> operator()(int across, int along) const {
      return load_pack<kWidth>(grad_ + across * across_ + along * along_, 0);
    }

   private:
    const T* grad_;
    int64_t across_, along_;
  };

  static __device__ void store(T* map, const RoiLayout<A>& layout, const RoiLevel<A>& level, int64_t channel, int32_t y,
                               int32_t x, const Pack<A, kWidth>& sums) {
    Pack<T, kWidth> pack;
#pragma unroll
    for (int v = 0; v < kWidth; ++v) pack.values[v] = T(sums.values[v]);
    store_pack_whole(map + (int64_t(y) * level.width + x) * layout.channels + channel, 0, pack);
  }
};

}  // namespace ldie::roi
