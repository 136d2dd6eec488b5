// SPDX-License-Identifier: Apache-2.0
// Dense masks are bound by writing them (or, fresh from the system, by the page faults of what is written); the drawing
// itself works on 64 pixels at a time.
#include <algorithm>
#include <cstring>

#include "core/bits.h"
#include "core/parallel.h"
#include "masks/polygon_canvas_cpu.h"
#include "masks/polygons_to_masks.h"

namespace ldie {
namespace {

void unite_packed(uint8_t* row, int64_t row_bytes, int64_t word, uint64_t bits) {
  const int64_t bytes = std::min<int64_t>(8, row_bytes - 8 * word);
  uint64_t old = 0;
  std::memcpy(&old, row + 8 * word, size_t(bytes));
  old |= bits;
  std::memcpy(row + 8 * word, &old, size_t(bytes));
}

void unite_dense(uint8_t* row, int64_t width, int64_t word, uint64_t bits) {
  for (int64_t x = 64 * word; bits != 0; x += 8, bits >>= 8) {
    const int64_t cells = std::min<int64_t>(8, width - x);
    uint64_t old = 0;
    std::memcpy(&old, row + x, size_t(cells));
    old |= spread_8_bits(bits);
    std::memcpy(row + x, &old, size_t(cells));
  }
}

void unite(const PolygonsToMasks& args, uint8_t* mask, const PolygonCanvas& canvas) {
  const int64_t row_bytes = args.row_bytes();
  for (int64_t y = canvas.top(); y < canvas.bottom(); ++y) {
    const uint64_t* const words = canvas.row(y);
    uint8_t* const row = mask + y * row_bytes;
    for (int64_t i = 0; i < canvas.words(); ++i) {
      if (words[i] == 0) continue;
      const int64_t word = canvas.first_word() + i;
      if (args.packed) {
        unite_packed(row, row_bytes, word, words[i]);
      } else {
        unite_dense(row, args.width, word, words[i]);
      }
    }
  }
}

}  // namespace

void polygons_to_masks(const PolygonsToMasks& args, Context&) {
  constexpr int64_t kBytesPerTask = 1 << 17;
  const int64_t mask_bytes = args.height * args.row_bytes();
  parallel_for(args.polygons.instances, kBytesPerTask / (mask_bytes + 1) + 1, [&](int64_t begin, int64_t end) {
    PolygonCanvas canvas(args.height, args.width);
    for (int64_t n = begin; n < end; ++n) {
      uint8_t* const mask = args.masks + n * mask_bytes;
      if (!args.zeroed) std::memset(mask, 0, size_t(mask_bytes));
      const RowRange parts = args.polygons.parts_of(n);
      for (int64_t part = parts.begin; part < parts.end; ++part) {
        canvas.draw(args.polygons, args.polygons.points_of(part), PolygonFrame());
        unite(args, mask, canvas);
      }
    }
  });
}

}  // namespace ldie
