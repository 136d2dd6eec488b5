// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/instantiate.h"
#include "core/integers.h"
#include "core/tiles_cpu.h"
#include "heatmap/draw_gaussian_cpu.h"
#include "losses/center_focal_loss_from_boxes.h"

namespace ldie::losses {
namespace {

int64_t tiles_per_plane(const GaussianMaps& maps) { return ceil_div(maps.cells(), kTile); }

// Cells of one plane.
struct Tile {
  int64_t image, label;
  heatmap::CellRange cells;

  int64_t count() const { return cells.end - cells.begin; }
};

// The tile of the heatmap, or null where no Gaussian reaches it.
template <typename A>
const A* draw_tile(const GaussianMaps& maps, const Tile& tile, A* heat) {
  bool drawn = false;
  const RowRange range = row_range(maps.offsets, tile.image, maps.rows);
  for (int64_t row = range.begin; row < range.end; ++row) {
    if (maps.labels[row] != tile.label) continue;
    const heatmap::CellWindow window = maps.gaussians[row].window(maps.height, maps.width);
    if (window.y1 * maps.width >= tile.cells.end || window.y2 * maps.width <= tile.cells.begin) continue;
    if (!drawn) std::fill_n(heat, tile.count(), A(0));
    drawn = true;
    heatmap::draw_gaussian(maps.gaussians[row], maps.height, maps.width, tile.cells, heat);
  }
  return drawn ? heat : nullptr;
}

// Calls body(tile, index) for all tiles of all planes, over threads.
template <typename Body>
void for_each_plane_tile(const GaussianMaps& maps, const Body& body) {
  constexpr int64_t kTilesPerTask = 16;
  const int64_t per_plane = tiles_per_plane(maps);
  parallel_for(maps.batch * maps.classes * per_plane, kTilesPerTask, [&](int64_t first, int64_t last) {
    for (int64_t index = first; index < last; ++index) {
      const int64_t plane = index / per_plane, begin = index % per_plane * kTile;
      const heatmap::CellRange cells{begin, std::min(begin + kTile, maps.cells())};
      body(Tile{plane / maps.classes, plane % maps.classes, cells}, index);
    }
  });
}

template <typename T, typename Term>
PeakSum loss_of_tile(const CenterFocalLossFromBoxes<T>& args, const Term& term, const Tile& tile) {
  using A = acc_t<T>;
  A logit_buffer[kTile], heat_buffer[kTile], e[kTile], losses[kTile];
  const int64_t count = tile.count(), plane = tile.image * args.maps.classes + tile.label;
  const A* const x = load_tile(args.logits + plane * args.maps.cells() + tile.cells.begin, count, logit_buffer);
  const A* const y = draw_tile(args.maps, tile, heat_buffer);
  int32_t peaks = 0;
  exp_minus_abs(x, count, e);
  if (y == nullptr) {
    for (int64_t i = 0; i < count; ++i) losses[i] = term.empty_loss(x[i], e[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) losses[i] = term.loss(x[i], y[i], e[i]);
    for (int64_t i = 0; i < count; ++i) peaks += y[i] == A(1);
  }
  return {tile_sum(losses, count), peaks};
}

template <typename T, typename Term>
void gradient_of_tile(const CenterFocalLossFromBoxesBackward<T>& args, const Term& term, const Tile& tile,
                      acc_t<T> scale) {
  using A = acc_t<T>;
  A logit_buffer[kTile], heat_buffer[kTile], e[kTile];
  const int64_t count = tile.count(), plane = tile.image * args.maps.classes + tile.label;
  const int64_t offset = plane * args.maps.cells() + tile.cells.begin;
  const A* const x = load_tile(args.logits + offset, count, logit_buffer);
  const A* const y = draw_tile(args.maps, tile, heat_buffer);
  T* const out = args.grad_logits + offset;
  exp_minus_abs(x, count, e);
  if (y == nullptr) {
    for (int64_t i = 0; i < count; ++i) out[i] = T(term.empty_gradient(x[i], e[i]) * scale);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = T(term.gradient(x[i], y[i], e[i]) * scale);
  }
}

}  // namespace

// Reads the logits once, 4 bytes a cell in float32: half of what the loss on a stored heatmap must move.
template <typename T>
void center_focal_loss_from_boxes(const CenterFocalLossFromBoxes<T>& args, Context& context) {
  using A = acc_t<T>;
  const int64_t tiles = args.maps.batch * args.maps.classes * tiles_per_plane(args.maps);
  PeakSum* const sums = context.scratch_array<PeakSum>(tiles);
  with_center_focal_term<A>(args.alpha, args.beta, [&](const auto& term) {
    for_each_plane_tile(args.maps,
                        [&](const Tile& tile, int64_t index) { sums[index] = loss_of_tile(args, term, tile); });
  });
  PeakSum sum{};
  for (int64_t index = 0; index < tiles; ++index) sum += sums[index];
  *args.loss = T(A(sum.loss / peak_divisor(sum.peaks)));
  *args.num_peaks = sum.peaks;
}

// The same reads and one write of the gradient; drawing the few tiles with boxes again costs less than keeping them.
template <typename T>
void center_focal_loss_from_boxes_backward(const CenterFocalLossFromBoxesBackward<T>& args, Context&) {
  using A = acc_t<T>;
  const A scale = A(double(A(*args.grad)) / peak_divisor(*args.num_peaks));
  with_center_focal_term<A>(args.alpha, args.beta, [&](const auto& term) {
    for_each_plane_tile(args.maps, [&](const Tile& tile, int64_t) { gradient_of_tile(args, term, tile, scale); });
  });
}

LDIE_INSTANTIATE(center_focal_loss_from_boxes, CenterFocalLossFromBoxes);
LDIE_INSTANTIATE(center_focal_loss_from_boxes_backward, CenterFocalLossFromBoxesBackward);

}  // namespace ldie::losses
