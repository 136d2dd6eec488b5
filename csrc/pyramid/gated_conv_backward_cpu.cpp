// SPDX-License-Identifier: Apache-2.0
#include "core/instantiate.h"
#include "core/parallel_cpu.h"
#include "pyramid/gated_bands_cpu.h"
#include "pyramid/gated_conv.h"
#include "pyramid/gated_rows_cpu.h"

namespace ldie::pyramid {
namespace {

// A band's gradients of the outputs, and what they give to the rows of gates that look at them.
template <typename T>
class Products {
  using A = acc_t<T>;
  static constexpr int kMostTaps = kManyRegisters ? 4 : 3;

 public:
  explicit Products(const GatedProducts<T>& args)
      : args_(args),
        window_(args.window),
        layout_(band_rows(2 * args.count * round_up(window_.width, kLanes<A>) * sizeof(A), args.batch, window_.height),
                window_.radius(), window_.width) {}

  void run(Context& context) const {
    const double products =
        double(window_.plane()) * double(window_.taps()) * double(args_.batch * args_.count * args_.outputs);
    for_each_band<A>(args_.batch, window_.height, layout_.rows, products, gates_size() + grads_size(), context,
                     [&](const Band& band, A* scratch) { sum(band, scratch); });
  }

 private:
  int64_t gates_size() const { return layout_.wide_rows() * args_.count * layout_.length; }
  int64_t grads_size() const { return layout_.rows * args_.count * layout_.wide(); }

  void sum(const Band& band, A* scratch) const {
    A* const grads = scratch + gates_size();
    const ProductOperands<A> operands{grads, scratch, args_.count, window_.side, layout_};
    std::fill(scratch, scratch + gates_size() + grads_size(), A(0));  // the margins stay so
    copy_gates(band, scratch);
    for (int64_t output = 0; output < args_.outputs; ++output) {
      copy_grads(band, output, grads);
      for (int64_t ky = 0; ky < window_.side;) {
        const int64_t taps = next_taps(ky);
        taps == 4   ? sum_line<4>(band, operands, output, ky)
        : taps == 3 ? sum_line<3>(band, operands, output, ky)
                    : sum_line<1>(band, operands, output, ky);
        ky += taps;
      }
    }
  }

  // How many of the taps from this on are summed at a time, along either axis: 7 as 4 and 3.
  int64_t next_taps(int64_t first) const {
    const int64_t left = window_.side - first;
    return left == kMostTaps || left >= kMostTaps + 3 ? kMostTaps : left >= 3 ? 3 : 1;
  }

  template <int kY>
  void sum_line(const Band& band, const ProductOperands<A>& operands, int64_t output, int64_t ky) const {
    for (int64_t kx = 0; kx < window_.side;) {
      const int64_t taps = next_taps(kx);
      taps == 4   ? sum_taps<kY, 4>(band, operands, output, ky, kx)
      : taps == 3 ? sum_taps<kY, 3>(band, operands, output, ky, kx)
                  : sum_taps<kY, 1>(band, operands, output, ky, kx);
      kx += taps;
    }
  }

  template <int kY, int kX>
  void sum_taps(const Band& band, const ProductOperands<A>& operands, int64_t output, int64_t ky, int64_t kx) const {
    if constexpr (kY > kMostTaps || kX > kMostTaps) return;
    for (int64_t y = 0; y < band.rows; ++y) {
      for (int64_t x = 0; x < window_.width; x += kLanes<A>) {
        Lanes<A> sums[kY][kX];
        unroll<kY * kX>([&](auto i) LDIE_INLINE { sums[i / kX][i % kX] = Lanes<A>{}; });
        operands.add(y, x, ky, kx, sums);
        unroll<kY * kX>([&](auto i) LDIE_INLINE {
          store(band.image, output, (ky + i / kX) * window_.side + kx + i % kX, band.top + y, x, sums[i / kX][i % kX]);
        });
      }
    }
  }

  // The sum for tap k that the gradients in row y give.
  void store(int64_t image, int64_t output, int64_t k, int64_t y, int64_t x, Lanes<A> sum) const {
    const int64_t of_gates = y + tap_dy(window_, k);
    if (!window_.has_row(of_gates)) return;
    store_cells(args_.result(image, output, k) + of_gates * window_.width + x, sum, window_.width - x);
  }

  void copy_gates(const Band& band, A* gates) const {
    const int64_t top = std::max<int64_t>(band.top - layout_.radius, 0);
    const int64_t bottom = std::min(band.top + band.rows + layout_.radius, window_.height);
    for (int64_t y = top; y < bottom; ++y) {
      A* const rows = gates + (y - band.top + layout_.radius) * args_.count * layout_.length;
      for (int64_t n = 0; n < args_.count; ++n) {
        copy_cells(args_.gate(band.image, n) + y * window_.width, window_.width, rows + n * layout_.length);
      }
    }
  }

  void copy_grads(const Band& band, int64_t output, A* grads) const {
    for (int64_t y = band.top; y < band.top + band.rows; ++y) {
      for (int64_t n = 0; n < args_.count; ++n, grads += layout_.wide()) {
        copy_cells(args_.grad(band.image, n, output) + y * window_.width, window_.width, grads + layout_.radius);
      }
    }
  }

  const GatedProducts<T>& args_;
  const TapWindow& window_;
  BandLayout<A> layout_;
};

// Cells whose gradient would come from outside of the map have no terms.
template <typename T>
void clear_outside(const TapWindow& window, int64_t k, T* row) {
  const int64_t left = std::clamp<int64_t>(tap_dx(window, k), 0, window.width);
  const int64_t right = std::clamp<int64_t>(window.width + tap_dx(window, k), left, window.width);
  for (int64_t y = 0; y < window.height; ++y, row += window.width) {
    const bool inside = window.has_row(y - tap_dy(window, k));
    std::fill(row, row + (inside ? left : window.width), T(0));
    std::fill(row + (inside ? right : window.width), row + window.width, T(0));
  }
}

}  // namespace

// 2 * taps flops for each gate, output and cell, as the forward; a cell that a tap leaves the map from is cleared at
// last.
template <typename T>
void gated_products(const GatedProducts<T>& args, Context& context) {
  constexpr int64_t kRowsPerTask = 1 << 13;
  const TapWindow& window = args.window;
  Products<T>(args).run(context);
  const int64_t planes = args.batch * args.outputs * window.taps();
  parallel_for(planes, 1 + kRowsPerTask / window.height, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) clear_outside(window, i % window.taps(), args.results + i * window.plane());
  });
}

LDIE_INSTANTIATE(gated_products, GatedProducts);

}  // namespace ldie::pyramid
