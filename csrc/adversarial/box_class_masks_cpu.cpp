// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "adversarial/box_class_masks.h"
#include "core/bits.h"
#include "core/instantiate.h"
#include "core/parallel_cpu.h"

namespace ldie::adversarial {
namespace {

void fill_row(uint8_t* row, const PixelBox& box, bool packed) {
  if (!packed) {
    std::memset(row + box.x1, 1, size_t(box.x2 - box.x1));
    return;
  }
  for (int64_t byte = box.x1 / 8; byte * 8 < box.x2; ++byte) {
    row[byte] |= uint8_t(covered_bits(box.x1, box.x2, byte * 8, 8));
  }
}

// Writes every byte once and those under boxes again: the floor is a memset of the masks. Masks that come zeroed cost
// only the pages under boxes.
template <typename T>
void draw_plane(const BoxClassMasks<T>& args, int64_t image, int64_t plane) {
  const int64_t row_bytes = args.row_bytes(), plane_bytes = args.height * row_bytes;
  uint8_t* const mask = args.masks + (image * args.planes + plane) * plane_bytes;
  if (!args.zeroed) std::memset(mask, 0, size_t(plane_bytes));
  const RowRange range = row_range(args.offsets, image, args.rows);
  for (int64_t i = range.begin; i < range.end; ++i) {
    if (!args.in_plane(i, plane)) continue;
    const PixelBox box = args.cells(i);
    if (box.x1 >= box.x2) continue;
    for (int64_t y = box.y1; y < box.y2; ++y) fill_row(mask + y * row_bytes, box, args.packed);
  }
}

}  // namespace

template <typename T>
void box_class_masks(const BoxClassMasks<T>& args, Context&) {
  constexpr int64_t kBytesPerTask = 1 << 17;
  const int64_t plane_bytes = args.height * args.row_bytes() + 1;
  parallel_for(args.batch * args.planes, kBytesPerTask / plane_bytes + 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) draw_plane(args, p / args.planes, p % args.planes);
  });
}

LDIE_INSTANTIATE(box_class_masks, BoxClassMasks);

}  // namespace ldie::adversarial
