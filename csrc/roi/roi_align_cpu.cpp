// SPDX-License-Identifier: Apache-2.0
#include "core/parallel.h"
#include "roi/roi_align.h"

namespace ldie {
namespace {

// Calls body(cell, weight) for the taps of one bin.
template <typename A, typename Body>
void for_taps(const Roi<A>& roi, int64_t bin_y, int64_t bin_x, const Body& body) {
  AxisTap<A> y, x;
  for (int32_t i = 0; i < roi.y.grid; ++i) {
    if (!roi.y.tap(bin_y, i, y)) continue;
    for (int32_t j = 0; j < roi.x.grid; ++j) {
      if (!roi.x.tap(bin_x, j, x)) continue;
      const int64_t low = int64_t(y.low) * roi.x.cells, high = int64_t(y.high) * roi.x.cells;
      body(low + x.low, y.low_weight * x.low_weight);
      body(low + x.high, y.low_weight * x.high_weight);
      body(high + x.low, y.high_weight * x.low_weight);
      body(high + x.high, y.high_weight * x.high_weight);
    }
  }
}

// Where element (channel, cell) of image or RoI `n` stands in memory.
template <typename A>
int64_t place(const RoiLayout<A>& layout, int64_t n, int64_t channel, int64_t cell, int64_t cells) {
  if (layout.channels_last) return (n * cells + cell) * layout.channels + channel;
  return (n * layout.channels + channel) * cells + cell;
}

}  // namespace

template <typename T>
void roi_align(const RoiAlign<T>& args, Context&) {
  using A = acc_t<T>;
  const auto& layout = args.layout;
  parallel_for(layout.rois, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Roi<A> roi = layout.roi(row);
      const T* const feature = args.features[roi.level];
      for (int64_t c = 0; c < layout.channels; ++c) {
        for (int64_t bin = 0; bin < layout.bins(); ++bin) {
          A sum = 0;
          if (roi.valid()) {
            for_taps(roi, bin / layout.bins_x, bin % layout.bins_x, [&](int64_t cell, A weight) {
              sum += weight * A(feature[place(layout, roi.image, c, cell, layout.levels[roi.level].cells())]);
            });
          }
          args.output[place(layout, row, c, bin, layout.bins())] = T(sum);
        }
      }
    }
  });
}

template <typename T>
void roi_align_backward(const RoiAlignBackward<T>& args, Context&) {
  using A = acc_t<T>;
  const auto& layout = args.layout;
  for (int32_t level = 0; level < layout.choice.count; ++level) {
    const int64_t count = layout.batch * layout.channels * layout.levels[level].cells();
    for (int64_t i = 0; i < count; ++i) args.grad_features[level][i] = T(0);
  }
  for (int64_t row = 0; row < layout.rois; ++row) {
    const Roi<A> roi = layout.roi(row);
    if (!roi.valid()) continue;
    T* const feature = args.grad_features[roi.level];
    for (int64_t c = 0; c < layout.channels; ++c) {
      for (int64_t bin = 0; bin < layout.bins(); ++bin) {
        const A grad = A(args.grad_output[place(layout, row, c, bin, layout.bins())]);
        for_taps(roi, bin / layout.bins_x, bin % layout.bins_x, [&](int64_t cell, A weight) {
          T& sum = feature[place(layout, roi.image, c, cell, layout.levels[roi.level].cells())];
          sum = T(A(sum) + weight * grad);
        });
      }
    }
  }
}

#define LDIE_INSTANTIATE(T)                              \
  template void roi_align(const RoiAlign<T>&, Context&); \
  template void roi_align_backward(const RoiAlignBackward<T>&, Context&);
LDIE_INSTANTIATE(float)
LDIE_INSTANTIATE(double)
LDIE_INSTANTIATE(Half)
LDIE_INSTANTIATE(BFloat16)
#undef LDIE_INSTANTIATE

}  // namespace ldie
