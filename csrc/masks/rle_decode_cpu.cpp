// SPDX-License-Identifier: Apache-2.0
// As polygons are drawn: runs toggle bits, rows inherit, and only what is set is written. Floor: the bytes of the
// masks.
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "masks/bit_canvas_cpu.h"
#include "masks/rle_decode.h"
#include "masks/run_set_cpu.h"

namespace ldie::masks {
namespace {

void decode(const RleDecode& args, int64_t mask, BitCanvas& canvas) {
  canvas.place(0, args.out.height, 0, ceil_div(args.out.width, 64));
  for_each_run(args.runs, mask, [&](int64_t begin, int64_t end) {
    toggle_run(begin, end, args.out.height, 0, args.out.width,
               [&](int64_t row, int64_t column) { canvas.toggle(row, column); });
  });
  canvas.inherit();
}

}  // namespace

void rle_decode(const RleDecode& args, Context&) {
  constexpr int64_t kBytesPerTask = 1 << 17;
  parallel_for(args.runs.count, kBytesPerTask / (args.out.mask_bytes() + 1) + 1, [&](int64_t begin, int64_t end) {
    BitCanvas canvas;
    for (int64_t n = begin; n < end; ++n) {
      uint8_t* const mask = args.out.mask(n);
      if (!args.out.zeroed) std::memset(mask, 0, size_t(args.out.mask_bytes()));
      decode(args, n, canvas);
      canvas.unite_into(mask, args.out.row_bytes(), args.out.packed);
    }
  });
}

}  // namespace ldie::masks
