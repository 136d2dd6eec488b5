// SPDX-License-Identifier: Apache-2.0
// Proposals of a region proposal network (Ren et al., arXiv:1506.01497, section 3.3; on feature pyramids Lin et al.,
// arXiv:1612.03144, section 4.1). Of every image and level the pre_nms best anchors are decoded, clipped to the image,
// and searched greedily for overlaps; the post_nms best of what all levels keep are the image's proposals. Everywhere,
// of equal scores the lower index comes first.
#pragma once

#include <cstdint>

#include "boxes/box_coder.h"
#include "core/box.h"
#include "core/context.h"
#include "core/limits.h"
#include "suppression/nms.h"

namespace ldie::boxes {

constexpr int kMostLevels = 16;

// A row of items cut into levels: level l has those from starts[l] to starts[l + 1].
struct Levels {
  int count = 0;
  int64_t starts[kMostLevels + 1] = {};

  void append(int64_t size) {
    starts[count + 1] = starts[count] + size;
    ++count;
  }

  LDIE_HD int64_t items() const { return starts[count]; }
  LDIE_HD int64_t size(int level) const { return starts[level + 1] - starts[level]; }
};

template <typename T>
struct SelectProposals {
  using A = acc_t<T>;

  const T* scores;             // [batch, anchors]
  const T* deltas;             // [batch, anchors, 4]
  const A* anchors;            // [anchors, 4]
  const int64_t* image_sizes;  // [batch, 2] height, width
  Levels levels;               // of the anchors
  int64_t batch;
  int64_t pre_nms, post_nms;
  double iou_threshold;
  A min_size, score_threshold, clip;
  A* boxes;         // [batch, post_nms, 4]
  T* best;          // [batch, post_nms] scores
  int64_t* counts;  // [batch]

  LDIE_HD int64_t anchors_per_image() const { return levels.items(); }

  // Ascending keys are descending scores. No key of a score that counts is as great as kRejected.
  using Key = suppression::score_key_t<A>;
  static constexpr Key kRejected = Key(~Key(0));
  LDIE_HD Key key(int64_t row) const {
    const A score = A(scores[row]);
    return score >= score_threshold ? suppression::score_key(score) : kRejected;  // a NaN is rejected
  }

  LDIE_HD Box<A> proposal(int64_t image, int64_t anchor) const {
    const Box<A> delta = load_box(deltas, image * anchors_per_image() + anchor);
    const Size2<A> size{A(image_sizes[2 * image]), A(image_sizes[2 * image + 1])};
    const Box<A> box =
        decode_box<A>({delta.x1, delta.y1, delta.x2, delta.y2}, load_box(anchors, anchor), {1, 1, 1, 1}, clip);
    return clip_box(box, size);
  }

  // Also whether it is finite: only a NaN is left of what was not.
  LDIE_HD bool is_large(const Box<A>& box) const { return box.x2 - box.x1 >= min_size && box.y2 - box.y1 >= min_size; }

  LDIE_HD void write(int64_t image, int64_t slot, int64_t anchor, const Box<A>& box) const {
    const int64_t out = image * post_nms + slot;
    boxes[4 * out] = box.x1;
    boxes[4 * out + 1] = box.y1;
    boxes[4 * out + 2] = box.x2;
    boxes[4 * out + 3] = box.y2;
    best[out] = scores[image * anchors_per_image() + anchor];
  }

  LDIE_HD void write_unused(int64_t image, int64_t slot) const {
    const int64_t out = image * post_nms + slot;
    for (int i = 0; i < 4; ++i) boxes[4 * out + i] = A(0);
    best[out] = T(-kInfinite<float>);
  }
};

template <typename T>
void select_proposals(const SelectProposals<T>& args, Context& context);

}  // namespace ldie::boxes
