// SPDX-License-Identifier: Apache-2.0
// CPU: maps in bands of rows over threads, each with copies of its own.
#pragma once

#include <algorithm>

#include "core/context.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "pyramid/gated_conv.h"
#include "pyramid/gated_rows_cpu.h"

namespace ldie::pyramid {

// What a thread copies of a band, so that it stays in the second-level cache; and at most so many rows.
constexpr int64_t kBandBytes = 256 << 10, kMostRows = 16;

// Rows of a band, if one takes so many bytes; fewer where threads would have nothing to do.
inline int64_t band_rows(int64_t bytes_per_row, int64_t batch, int64_t height) {
  constexpr int64_t kBandsPerThread = 2;
  const int64_t of_cache = std::clamp<int64_t>(kBandBytes / std::max<int64_t>(bytes_per_row, 1), 1, kMostRows);
  const int64_t of_threads = ceil_div(batch * height, kBandsPerThread * num_threads());
  return round_up(std::min({of_cache, of_threads, height}), int64_t(kTileRows));
}

// A thread for so many products at least: waking one takes as long.
inline int64_t worker_count(double products, int64_t tasks) {
  constexpr double kProductsPerWorker = 1 << 20;
  const int64_t most = std::min(num_threads(), tasks);
  return products / kProductsPerWorker < double(most) ? int64_t(products / kProductsPerWorker) + 1 : most;
}

// Where tap k lies.
inline int64_t tap_dy(const TapWindow& window, int64_t k) { return k / window.side - window.radius(); }
inline int64_t tap_dx(const TapWindow& window, int64_t k) { return k % window.side - window.radius(); }

// Rows [top, top + rows) of an image's maps.
struct Band {
  int64_t image, top, rows;
};

// Calls body(band, scratch) for each band of `rows` rows of each image, on several threads, each with scratch of its
// own.
template <typename A, typename Body>
void for_each_band(int64_t batch, int64_t height, int64_t rows, double products, int64_t scratch, Context& context,
                   const Body& body) {
  const int64_t bands = ceil_div(height, rows), workers = worker_count(products, batch * bands);
  A* const all = context.scratch_array<A>(workers * scratch);
  parallel_workers(workers, [&](const auto& next, int64_t worker) {
    for (int64_t task = next(); task < batch * bands; task = next()) {
      const int64_t top = task % bands * rows;
      body(Band{task / bands, top, std::min(rows, height - top)}, all + worker * scratch);
    }
  });
}

}  // namespace ldie::pyramid
