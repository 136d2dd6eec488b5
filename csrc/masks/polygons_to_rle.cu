// SPDX-License-Identifier: Apache-2.0
// Drawn as bits, then encoded from them: the bits of an image's instances (13 MB for 100 at 800 x 1333) are few on a
// GPU. Floor: those bits written once, then what rle_encode.cu does; 25 and 40 us on an H200.
#include "core/bits.h"
#include "masks/polygons_to_masks.h"
#include "masks/polygons_to_rle.h"
#include "masks/rle_encode.h"

namespace ldie::masks {

void polygons_to_rle(const PolygonsToRle& args, RunAllocator& allocator, Context& context) {
  const int64_t count = args.polygons.instances;
  const MaskOutput masks{
      .masks = context.scratch_array<uint8_t>(count * args.height * mask_row_bytes(args.width, true)),
      .height = args.height,
      .width = args.width,
      .packed = true,
      .zeroed = false};
  if (args.pixels() > 0) polygons_to_masks({args.polygons, masks}, context);
  rle_encode({{MaskForm::packed, masks.masks, RunSet{}, count, args.height, args.width}, args.offsets}, allocator,
             context);
}

}  // namespace ldie::masks
