// SPDX-License-Identifier: Apache-2.0
// Drawn as bits, then encoded from them: the bits of an image's instances (13 MB for 100 at 800 x 1333) are few on a
// GPU. Floor: those bits written once, then what rle_encode.cu does; 25 and 40 us on an H200.
#include "masks/polygons_to_masks.h"
#include "masks/polygons_to_rle.h"
#include "masks/rle_encode.h"

namespace ldie::masks {

void polygons_to_rle(const PolygonsToRle& args, RunAllocator& allocator, Context& context) {
  PolygonsToMasks masks{args.polygons, args.height, args.width, true, false, nullptr};
  masks.masks = context.scratch_array<uint8_t>(args.polygons.instances * args.height * masks.row_bytes());
  if (args.pixels() > 0) polygons_to_masks(masks, context);
  rle_encode({masks.masks, args.polygons.instances, args.height, args.width, true, args.offsets}, allocator, context);
}

}  // namespace ldie::masks
