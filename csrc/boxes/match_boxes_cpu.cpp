// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <vector>

#include "boxes/candidate_tile.h"
#include "boxes/match_boxes.h"
#include "core/parallel.h"
#include "core/ragged.h"

namespace ldie {
namespace {

template <typename T>
struct GroundTruth {
  Box<T> box;
  T area;
  int32_t row;  // within its image
  bool ordinary;
};

inline bool any_true(int value) { return value != 0; }
template <typename Mask>
bool any_true(const Mask& mask) {
  return any_lane(mask);
}

template <typename V, typename T>
Box<V> same_lanes(const Box<T>& box) {
  return {box.x1 - V{}, box.y1 - V{}, box.x2 - V{}, box.y2 - V{}};
}

// The greatest IoU of a ground truth, and between which tiles it was met. NaN is the greatest of all.
template <typename T>
struct Peak {
  T iou = std::numeric_limits<T>::denorm_min();
  int64_t first = std::numeric_limits<int64_t>::max(), last = -1;  // -1: all its IoUs are 0

  void join(const Peak& other) {
    if (other.last < 0 || iou != iou) return;
    if (other.iou > iou || other.iou != other.iou) {
      *this = other;
    } else if (other.iou == iou) {
      first = std::min(first, other.first);
      last = std::max(last, other.last);
    }
  }
};

// The work is cut into tiles of candidates of one image each; part p of P takes the items p, p + P, p + 2 P, ..., as
// neighbours (anchors of one level) cost about the same.
template <typename T>
class Matching {
 public:
  Matching(const MatchBoxes<T>& args, Context& context)
      : args_(args), tiles_((args.count + Tile::kSize - 1) / Tile::kSize), starts_{0} {
    prepare_ground_truth();
    parts_ = std::min(num_threads(), items());
    near_ = context.scratch_array<int32_t>(2 * parts_ * int64_t(gts_.size()));
    if (!args.allow_low_quality) return;
    rows_ = context.scratch_array<int32_t>(args.batch * args.count);
    peaks_.resize(size_t(parts_) * gts_.size());
  }

  // What must be moved is 16 bytes a candidate in and 12 out; the pairs that the hulls leave are the time.
  void run() {
    for_each_item(
        [&](int64_t part, int64_t image, int64_t tile, const Tile& boxes) { match_tile(part, image, tile, boxes); });
    if (!args_.allow_low_quality) return;
    join_peaks();
    for_each_item([&](int64_t, int64_t image, int64_t tile, const Tile& boxes) { restore_tile(image, tile, boxes); });
  }

 private:
  using Tile = CandidateTile<T>;
  using Values = Lanes<T>;
  using Rows = decltype(Values() < Values());
  static constexpr int64_t kGroup = Tile::kGroup;

  struct Best {
    Values iou;
    Rows row;
  };

  int64_t items() const { return tiles_ * args_.batch; }
  int64_t tile_count(int64_t tile) const { return std::min(Tile::kSize, args_.count - tile * Tile::kSize); }

  void prepare_ground_truth() {
    for (int64_t image = 0; image < args_.batch; ++image) {
      const RowRange range = row_range(args_.gt_offsets, image, args_.gt_count);
      for (int64_t row = range.begin; row < range.end; ++row) {
        if (args_.left_out(row)) continue;
        const Box<T> box = load_box(args_.gt, row);
        const T area = box_area(box);
        gts_.push_back({box, area, int32_t(row - range.begin), is_ordinary(area)});
      }
      starts_.push_back(int64_t(gts_.size()));
    }
  }

  template <typename Body>
  void for_each_item(const Body& body) const {
    parallel_for(parts_, 1, [&](int64_t begin, int64_t end) {
      Tile boxes;
      for (int64_t part = begin; part < end; ++part) {
        int64_t loaded = -1;
        for (int64_t item = part; item < items(); item += parts_) {
          const int64_t tile = item / args_.batch, image = item % args_.batch;
          const int64_t wanted = args_.shared ? tile : item;
          if (wanted != loaded) {
            boxes.load(args_.candidates_of(image) + 4 * Tile::kSize * tile, tile_count(tile));
            loaded = wanted;
          }
          body(part, image, tile, boxes);
        }
      }
    });
  }

  // Whether the IoUs of the ground truth with these boxes, or boxes within this hull, can be anything but 0.
  template <typename V>
  static bool counts(const GroundTruth<T>& gt, const Tile& boxes, const Box<V>& others) {
    return !gt.ordinary | !boxes.ordinary | any_true(touches(same_lanes<V>(gt.box), others));
  }

  Values iou_with(const GroundTruth<T>& gt, const Tile& boxes, int64_t group) const {
    const Values intersection = box_intersection(same_lanes<Values>(gt.box), boxes.boxes(group));
    return args_.resolved(intersection_over_union(intersection, all_lanes(gt.area), boxes.areas(group)));
  }

  void match_tile(int64_t part, int64_t image, int64_t tile, const Tile& boxes) {
    int32_t* const near_tile = near_ + 2 * part * int64_t(gts_.size());
    int32_t* const near_group = near_tile + gts_.size();
    int64_t in_tile = 0;
    for (int64_t i = starts_[image]; i < starts_[image + 1]; ++i) {
      near_tile[in_tile] = int32_t(i);
      in_tile += counts(gts_[i], boxes, boxes.hull);
    }
    for (int64_t group = 0; group < boxes.groups; ++group) {
      int64_t in_group = 0;  // selected without a branch, which nothing could predict
      for (int64_t k = 0; k < in_tile; ++k) {
        near_group[in_group] = near_tile[k];
        in_group += counts(gts_[near_tile[k]], boxes, boxes.boxes(group));
      }
      match_group(near_group, in_group, part, image, tile, boxes, group);
    }
  }

  void match_group(const int32_t* near, int64_t near_count, int64_t part, int64_t image, int64_t tile,
                   const Tile& boxes, int64_t group) {
    Peak<T>* const peaks = args_.allow_low_quality ? &peaks_[size_t(part) * gts_.size()] : nullptr;
    const bool any_gt = starts_[image] < starts_[image + 1];
    Best best{Values{}, Rows{} + (any_gt ? gts_[starts_[image]].row : -1)};
    for (int64_t k = 0; k < near_count; ++k) {
      const GroundTruth<T>& gt = gts_[near[k]];
      const Values iou = iou_with(gt, boxes, group);
      const Rows better = (iou > best.iou) | ((iou != iou) & (best.iou == best.iou));
      best = {better ? iou : best.iou, better ? Rows{} + gt.row : best.row};
      if (peaks != nullptr) raise(peaks[near[k]], iou, tile);
    }
    store(best, any_gt, image, tile, group);
  }

  static void raise(Peak<T>& peak, const Values& iou, int64_t tile) {
    if (!any_lane((iou < peak.iou) == Rows{})) return;  // the usual case
    Peak<T> here{iou[0], tile, tile};
    for (int64_t lane = 1; lane < kGroup; ++lane) here.join({iou[lane], tile, tile});
    peak.join(here);
  }

  void store(const Best& best, bool any_gt, int64_t image, int64_t tile, int64_t group) const {
    const int64_t begin = image * args_.count + tile * Tile::kSize + group * kGroup;
    const int64_t count = std::min(kGroup, tile_count(tile) - group * kGroup);
    for (int64_t lane = 0; lane < count; ++lane) {
      args_.iou[begin + lane] = best.iou[lane];
      args_.matches[begin + lane] = any_gt ? args_.match(best.iou[lane], best.row[lane]) : kBelowLow;
    }
    if (rows_ == nullptr) return;
    for (int64_t lane = 0; lane < count; ++lane) rows_[begin + lane] = int32_t(best.row[lane]);
  }

  void join_peaks() {
    const size_t count = gts_.size();
    for (size_t i = count; i < peaks_.size(); ++i) peaks_[i % count].join(peaks_[i]);
    for (int64_t image = 0; image < args_.batch; ++image) {
      bool all = false;
      for (int64_t i = starts_[image]; i < starts_[image + 1]; ++i) all |= peaks_[i].last < 0;
      all_restored_.push_back(all);
    }
  }

  // The low-quality rule: candidates whose IoU with a ground truth is the greatest of that one get their row back. If
  // that IoU is 0 these are all candidates of the image.
  void restore_tile(int64_t image, int64_t tile, const Tile& boxes) const {
    const int64_t begin = image * args_.count + tile * Tile::kSize, count = tile_count(tile);
    if (all_restored_[image]) {
      for (int64_t i = begin; i < begin + count; ++i) args_.matches[i] = rows_[i];
      return;
    }
    for (int64_t k = starts_[image]; k < starts_[image + 1]; ++k) {
      if (tile < peaks_[k].first || tile > peaks_[k].last) continue;
      for (int64_t group = 0; group < boxes.groups; ++group) {
        if (!counts(gts_[k], boxes, boxes.boxes(group))) continue;
        const Rows at_peak = iou_with(gts_[k], boxes, group) == all_lanes(peaks_[k].iou);
        if (any_lane(at_peak)) restore(at_peak, begin + group * kGroup, std::min(kGroup, count - group * kGroup));
      }
    }
  }

  void restore(const Rows& at_peak, int64_t begin, int64_t count) const {
    for (int64_t lane = 0; lane < count; ++lane) {
      if (at_peak[lane]) args_.matches[begin + lane] = rows_[begin + lane];
    }
  }

  const MatchBoxes<T>& args_;
  const int64_t tiles_;
  std::vector<GroundTruth<T>> gts_;  // image by image, without those left out
  std::vector<int64_t> starts_;      // [batch + 1] of the images in gts_
  int64_t parts_ = 1;
  int32_t* near_ = nullptr;     // [parts, 2, gts] that touch a tile, and that touch a group of it
  int32_t* rows_ = nullptr;     // [batch, count] of the greatest IoU, for the low-quality rule
  std::vector<Peak<T>> peaks_;  // [parts, gts], then joined in the first part
  std::vector<bool> all_restored_;
};

}  // namespace

template <typename T>
void match_boxes(const MatchBoxes<T>& args, Context& context) {
  Matching<T>(args, context).run();
}

template void match_boxes(const MatchBoxes<float>&, Context&);
template void match_boxes(const MatchBoxes<double>&, Context&);

}  // namespace ldie
