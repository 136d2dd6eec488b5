// SPDX-License-Identifier: Apache-2.0
#include "core/instantiate.h"
#include "pyramid/gated_bands_cpu.h"
#include "pyramid/gated_conv.h"
#include "pyramid/gated_rows_cpu.h"

namespace ldie::pyramid {
namespace {

// kSums results of each map, by windows of side kSide, or any if 0.
template <typename T, int kSums, int kSide>
class SumTile {
  using A = acc_t<T>;
  static constexpr int kMaps = kTileMaps<kSums>;
  using Operands = TapOperands<A, kMaps, kSums, kSide>;

 public:
  SumTile(const GatedSums<T>& args, int64_t first_sum)
      : args_(args),
        window_(args.window),
        first_sum_(first_sum),
        layout_(band_rows(kSums * args.channels * window_.taps() * round_up(window_.width, kLanes<A>) * sizeof(A),
                          args.batch, window_.height),
                window_.radius(), window_.width) {}

  void run(Context& context) const {
    const double products =
        double(window_.plane()) * double(args_.batch * args_.count * args_.channels) * double(window_.taps() * kSums);
    for_each_band<A>(args_.batch, window_.height, layout_.rows, products, line_size() + taps_size() + maps_size(),
                     context, [&](const Band& band, A* scratch) { sum(band, scratch); });
  }

 private:
  int64_t line_size() const { return layout_.rows * layout_.length; }
  int64_t taps_size() const { return kSums * args_.channels * window_.taps() * line_size(); }
  int64_t maps_size() const { return kMaps * args_.channels * layout_.wide_rows() * layout_.wide(); }

  void sum(const Band& band, A* scratch) const {
    A* const taps = scratch + line_size();
    A* const maps = taps + taps_size();
    const Operands operands{maps, taps, window_.side, args_.channels, layout_};
    copy_taps(band, operands, scratch, taps);
    std::fill(maps, maps + maps_size(), A(0));  // the margins stay so
    for (int64_t first = 0; first < args_.count; first += kMaps) {
      copy_maps(band, first, maps);
      T* const results = args_.result(band.image, first, first_sum_) + band.top * window_.width;
      for (int64_t y = 0; y < band.rows; y += kTileRows) {
        for (int64_t column = 0; column < layout_.columns(); ++column) {
          typename Operands::Sums sums;
          unroll<kMaps * kTileRows * kSums>([&](auto i) LDIE_INLINE {
            sums[i / (kTileRows * kSums)][i / kSums % kTileRows][i % kSums] = Lanes<A>{};
          });
          operands.add(y, column, sums);
          store(results + y * window_.width, args_.count - first, band.rows - y, column * kLanes<A>, sums);
        }
      }
    }
  }

  void copy_taps(const Band& band, const Operands& operands, A* rows, A* taps) const {
    std::fill(rows, rows + line_size(), A(0));
    for (int64_t c = 0; c < args_.channels; ++c) {
      for (int64_t k = 0; k < window_.taps(); ++k) {
        for (int s = 0; s < kSums; ++s) {
          copy_responses(band, args_.response(band.image, first_sum_ + s, c, k), k, rows);
          for (int64_t y = 0; y < layout_.rows; ++y) {
            for (int64_t column = 0; column < layout_.columns(); ++column) {
              const Lanes<A> lanes = load_lanes(rows + y * layout_.length + column * kLanes<A>);
              std::memcpy(taps + operands.place(y, column, c, k, s), &lanes, sizeof lanes);
            }
          }
        }
      }
    }
  }

  // Responses to tap k as the band's cells take them, 0 where the tap is outside of the map.
  void copy_responses(const Band& band, const T* plane, int64_t k, A* rows) const {
    const int64_t dy = tap_dy(window_, k), dx = tap_dx(window_, k), width = window_.width;
    const int64_t begin = std::clamp<int64_t>(-dx, 0, width), end = std::clamp<int64_t>(width - dx, begin, width);
    for (int64_t y = 0; y < band.rows; ++y, rows += layout_.length) {
      const int64_t of_map = band.top + y + dy;
      const bool inside = window_.has_row(of_map);
      const int64_t first = inside ? begin : width, last = inside ? end : width;
      const int64_t from = args_.turned ? (band.top + y) * width + first : of_map * width + first + dx;
      std::fill(rows, rows + first, A(0));
      if (inside) copy_cells(plane + from, last - first, rows + first);
      std::fill(rows + last, rows + width, A(0));
    }
  }

  // Fewer than kMaps at the end: what else stands there makes sums that are not stored.
  void copy_maps(const Band& band, int64_t first, A* maps) const {
    const int64_t top = std::max<int64_t>(band.top - layout_.radius, 0);
    const int64_t bottom = std::min(band.top + band.rows + layout_.radius, window_.height);
    for (int64_t n = first; n < std::min(first + kMaps, args_.count); ++n) {
      for (int64_t c = 0; c < args_.channels; ++c, maps += layout_.wide_rows() * layout_.wide()) {
        const T* const cells = args_.map(band.image, n, c);
        for (int64_t y = top; y < bottom; ++y) {
          A* const row = maps + (y - band.top + layout_.radius) * layout_.wide() + layout_.radius;
          copy_cells(cells + y * window_.width, window_.width, row);
        }
      }
    }
  }

  // The results of `maps` maps in kTileRows rows, or fewer at the end of the band.
  void store(T* results, int64_t maps, int64_t rows, int64_t x, const typename Operands::Sums& sums) const {
    const int64_t width = window_.width, plane = window_.plane(), of_map = args_.sums * plane;
    unroll<kMaps * kTileRows>([&](auto i) LDIE_INLINE {
      constexpr int n = i / kTileRows, j = i % kTileRows;
      if (n >= maps || j >= rows) return;
      unroll<kSums>([&](auto s) LDIE_INLINE {
        store_cells(results + n * of_map + s * plane + j * width + x, sums[n][j][s], width - x);
      });
    });
  }

  const GatedSums<T>& args_;
  const TapWindow& window_;
  int64_t first_sum_;
  BandLayout<A> layout_;
};

// The usual windows have code of their own in float32; for all dtypes it would be a minute of compiling.
template <int kSums, typename T>
void run_tiles(const GatedSums<T>& args, int64_t first_sum, Context& context) {
  if constexpr (std::is_same_v<T, float>) {
    if (args.window.side == 3) return SumTile<T, kSums, 3>(args, first_sum).run(context);
    if (args.window.side == 7) return SumTile<T, kSums, 7>(args, first_sum).run(context);
  }
  SumTile<T, kSums, 0>(args, first_sum).run(context);
}

}  // namespace

// 2 * taps flops for each map, channel, sum and cell, and what is read and written is small beside them: 80 maps of 50
// x 84 and a window of 7 x 7 are 33 Mflop and 3.5 MB.
template <typename T>
void gated_sums(const GatedSums<T>& args, Context& context) {
  int64_t sum = 0;
  for (; sum + 3 <= args.sums; sum += 3) run_tiles<3>(args, sum, context);
  for (; sum < args.sums; ++sum) run_tiles<1>(args, sum, context);
}

LDIE_INSTANTIATE(gated_sums, GatedSums);

}  // namespace ldie::pyramid
