// SPDX-License-Identifier: Apache-2.0
#include "boxes/grid_anchors.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"

namespace ldie::boxes {
namespace {

constexpr int64_t kNumbers = 4;  // of a box

// A row of the grid before its y: rows differ in nothing else.
void fill_row(const GridAnchors& args, const AnchorLevel& level, Box<float>* row) {
  const Box<float>* const cells = args.pyramid.cells + level.first_cell;
  for (int64_t x = 0; x < level.width; ++x) {
    const float shift = args.shift(x, level.stride_x);
    for (int cell = 0; cell < level.cells; ++cell) *row++ = anchor_at(shift, 0.f, cells[cell]);
  }
}

// Moves a row down by y: adds to every second number.
void shift_row(const float* row, int64_t numbers, float y, float* shifted) {
  constexpr int64_t kLanes = 16;
  float shifts[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) shifts[lane] = lane % 2 ? y : 0.f;
  int64_t i = 0;
  for (; i + kLanes <= numbers; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) shifted[i + lane] = row[i + lane] + shifts[lane];
  }
  for (; i < numbers; ++i) shifted[i] = row[i] + shifts[i % 2];
}

}  // namespace

// Writes 16 bytes an anchor and reads next to nothing: the speed of memory, or of its page faults.
void grid_anchors(const GridAnchors& args, Context& context) {
  constexpr int64_t kAnchorsPerTask = 1 << 14;
  for (int i = 0; i < args.pyramid.num_levels; ++i) {
    const AnchorLevel& level = args.pyramid.levels[i];
    const int64_t anchors = level.anchors_per_row();
    if (anchors == 0) continue;
    Box<float>* const row = context.scratch_array<Box<float>>(anchors);
    fill_row(args, level, row);
    parallel_for(level.height, ceil_div(kAnchorsPerTask, anchors), [&](int64_t begin, int64_t end) {
      for (int64_t y = begin; y < end; ++y) {
        shift_row(&row->x1, kNumbers * anchors, args.shift(y, level.stride_y),
                  &args.anchors[level.first_anchor + y * anchors].x1);
      }
    });
  }
}

}  // namespace ldie::boxes
