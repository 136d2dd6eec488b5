// SPDX-License-Identifier: Apache-2.0
// Which ground-truth box each candidate (anchor or proposal) belongs to, without the matrix of their IoUs. Faster
// R-CNN, arXiv:1506.01497, section 3.1.2; order, ties and types are those of torchvision's box_iou and Matcher:
//   a candidate's row is that of its greatest IoU, the first of equal ones; below `low` it is none, below `high`
//   neither; with the low-quality rule the candidates with a ground truth's greatest IoU, all of them, get their own
//   row back.
#pragma once

#include <cstdint>

#include "core/box.h"
#include "core/context.h"

namespace ldie::boxes {

enum class MatchConvention : int64_t {
  kTorchvision,  // an IoU of NaN, such as 0 / 0, is greater than all others
  kDetectron2,   // it counts as 0
};
constexpr MatchConvention last_option(MatchConvention) { return MatchConvention::kDetectron2; }

constexpr int kBelowLow = -1, kBetween = -2;

// Whether an IoU takes the place of one met before: of equal ones the first stays. NaN, which no comparison knows, is
// the greatest of all. V is a number, or on the CPU a vector of numbers, as everywhere here.
template <typename V>
LDIE_HD auto exceeds(const V& iou, const V& best) {
  return (iou > best) | ((iou != iou) & (best == best));
}

template <typename T>
struct MatchBoxes {
  const T* gt;                // [gt_count, 4]
  const int64_t* gt_offsets;  // [batch + 1]
  const bool* crowd;          // [gt_count] rows to leave out, or null
  int64_t gt_count, batch;
  const T* candidates;  // [count, 4] for all images, or [batch, count, 4]
  bool shared;
  int64_t count;
  T high, low;  // in the type of the IoU, as PyTorch compares
  bool allow_low_quality;
  MatchConvention convention;
  int64_t* matches;  // [batch, count] row within the image's ground truth, kBelowLow or kBetween
  T* iou;            // [batch, count] the greatest IoU

  LDIE_HD const T* candidates_of(int64_t image) const { return candidates + (shared ? 0 : 4 * count * image); }

  LDIE_HD bool left_out(int64_t gt_row) const { return crowd != nullptr && crowd[gt_row]; }

  template <typename V>
  LDIE_HD V iou_of(const V& intersection, const V& gt_area, const V& area) const {
    const V ratio = intersection_over_union(intersection, gt_area, area);
    return convention == MatchConvention::kDetectron2 ? (ratio == ratio ? ratio : V{}) : ratio;
  }

  // By a candidate's greatest IoU, and the row that has it.
  template <typename V, typename Row>
  LDIE_HD Row match(const V& best, const Row& row) const {
    const Row none = Row{} + kBelowLow, between = Row{} + kBetween;
    return best < low ? none : best < high ? between : row;
  }
};

template <typename T>
void match_boxes(const MatchBoxes<T>& args, Context& context);

}  // namespace ldie::boxes
