// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "boxes/candidate_tile_cpu.h"
#include "boxes/match_boxes.h"
#include "boxes/peak_cpu.h"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"
#include "core/ragged.h"

namespace ldie::boxes {
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

// The work is cut into tiles of candidates of one image each; part p of P takes the items p, p + P, p + 2 P, ..., as
// neighbours (anchors of one level) cost about the same.
template <typename T>
class Matching {
 public:
  Matching(const MatchBoxes<T>& args, Context& context)
      : args_(args), tiles_(ceil_div(args.count, Tile::kSize)), starts_{0} {
    prepare_ground_truth();
    parts_ = std::min(num_threads(), items());
    near_ = context.scratch_array<int32_t>(2 * parts_ * int64_t(gts_.size()));
    if (!args.allow_low_quality) return;
    rows_ = context.scratch_array<int32_t>(args.batch * args.count);
    peaks_.resize(size_t(parts_) * gts_.size());
  }

  // What must be moved is 16 bytes a candidate in and 12 out; the pairs that the hulls leave are the time.
  void run() {
    parallel_for(parts_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) match_part(part);
    });
    if (!args_.allow_low_quality) return;
    keep_greatest();
    parallel_for(parts_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) restore_part(part);
    });
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
        gts_.push_back({box, area, int32_t(row - range.begin), is_ordinary(area) != 0});
      }
      starts_.push_back(int64_t(gts_.size()));
    }
  }

  void match_part(int64_t part) {
    Tile boxes;
    int64_t loaded = -1;
    for (int64_t item = part; item < items(); item += parts_) {
      const int64_t tile = item / args_.batch, image = item % args_.batch;
      const int64_t wanted = args_.shared ? tile : item;
      if (wanted != loaded) {
        boxes.load(args_.candidates_of(image) + 4 * Tile::kSize * tile, tile_count(tile));
        loaded = wanted;
      }
      match_tile(part, image, tile, boxes);
    }
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
    Peak<T>* const peaks = args_.allow_low_quality ? peaks_.data() + part * int64_t(gts_.size()) : nullptr;
    const bool any_gt = starts_[image] < starts_[image + 1];
    Best best{Values{}, Rows{} + (any_gt ? gts_[starts_[image]].row : -1)};
    for (int64_t k = 0; k < near_count; ++k) {
      const GroundTruth<T>& gt = gts_[near[k]];
      const Values iou = iou_with(gt, boxes, group);
      const Rows better = (iou > best.iou) | ((iou != iou) & (best.iou == best.iou));
      best = {better ? iou : best.iou, better ? Rows{} + gt.row : best.row};
      if (peaks != nullptr) raise(peaks[near[k]], iou, tile * Tile::kGroups + group);
    }
    store(best, any_gt, image, tile, group);
  }

  static void raise(Peak<T>& peak, const Values& iou, int64_t group) {
    if (!any_lane((iou < peak.iou) == Rows{})) return;  // the usual case
    for (int64_t lane = 0; lane < kGroup; ++lane) peak.raise(iou[lane], group);
  }

  void store(const Best& best, bool any_gt, int64_t image, int64_t tile, int64_t group) const {
    const int64_t begin = image * args_.count + tile * Tile::kSize + group * kGroup;
    const int64_t count = std::min(kGroup, tile_count(tile) - group * kGroup);
    const Rows none = Rows{} + int(kBelowLow), between = Rows{} + int(kBetween);
    const Rows match = best.iou < args_.low ? none : best.iou < args_.high ? between : best.row;
    store_lanes(args_.iou + begin, best.iou, count);
    store_lanes(args_.matches + begin, any_gt ? match : none, count);
    if (rows_ != nullptr) store_lanes(rows_ + begin, best.row, count);
  }

  // Leaves the places of each ground truth's greatest IoU in the parts that met it. Where it is 0, all candidates of
  // the image have it.
  void keep_greatest() {
    all_restored_.assign(size_t(args_.batch), false);
    for (int64_t image = 0; image < args_.batch; ++image) {
      for (int64_t i = starts_[image]; i < starts_[image + 1]; ++i) {
        Peak<T> greatest;
        for (int64_t part = 0; part < parts_; ++part) {
          if (!peak(part, i).places.empty()) greatest.raise(peak(part, i).iou, part);
        }
        for (int64_t part = 0; part < parts_; ++part) {
          if (peak(part, i).iou != greatest.iou) peak(part, i).places.clear();
        }
        if (greatest.places.empty()) all_restored_[image] = true;
      }
    }
  }

  // The low-quality rule: candidates whose IoU with a ground truth is the greatest of that one get their row back.
  void restore_part(int64_t part) {
    for (int64_t image = 0; image < args_.batch; ++image) {
      if (all_restored_[image]) {
        restore_all(part, image);
      } else {
        restore_peaks(part, image);
      }
    }
  }

  void restore_all(int64_t part, int64_t image) const {
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      if (owner(image, tile) != part) continue;
      const int64_t begin = image * args_.count + tile * Tile::kSize;
      for (int64_t i = begin; i < begin + tile_count(tile); ++i) args_.matches[i] = rows_[i];
    }
  }

  void restore_peaks(int64_t part, int64_t image) {
    for (int64_t i = starts_[image]; i < starts_[image + 1]; ++i) {
      const Peak<T>& own = peak(part, i);
      own.places.for_each_block([&](int64_t first, int64_t last) {
        for (int64_t group = first; group < std::min(last, tiles_ * Tile::kGroups); ++group) {
          if (owner(image, group / Tile::kGroups) == part) restore_group(image, group, gts_[i], own.iou);
        }
      });
    }
  }

  void restore_group(int64_t image, int64_t group, const GroundTruth<T>& gt, T greatest) const {
    const int64_t count = std::min(kGroup, args_.count - group * kGroup), begin = image * args_.count + group * kGroup;
    if (count <= 0) return;
    Tile boxes;
    boxes.load(args_.candidates_of(image) + 4 * kGroup * group, count);
    const Rows at_peak = iou_with(gt, boxes, 0) == all_lanes(greatest);
    for (int64_t lane = 0; lane < count; ++lane) {
      if (at_peak[lane]) args_.matches[begin + lane] = rows_[begin + lane];
    }
  }

  Peak<T>& peak(int64_t part, int64_t gt) { return peaks_[size_t(part) * gts_.size() + size_t(gt)]; }
  int64_t owner(int64_t image, int64_t tile) const { return (tile * args_.batch + image) % parts_; }

  const MatchBoxes<T>& args_;
  const int64_t tiles_;
  std::vector<GroundTruth<T>> gts_;  // image by image, without those left out
  std::vector<int64_t> starts_;      // [batch + 1] of the images in gts_
  int64_t parts_ = 1;
  int32_t* near_ = nullptr;     // [parts, 2, gts] that touch a tile, and that touch a group of it
  int32_t* rows_ = nullptr;     // [batch, count] of the greatest IoU, for the low-quality rule
  std::vector<Peak<T>> peaks_;  // [parts, gts]
  std::vector<bool> all_restored_;
};

}  // namespace

template <typename T>
void match_boxes(const MatchBoxes<T>& args, Context& context) {
  Matching<T>(args, context).run();
}

LDIE_INSTANTIATE_WIDE(match_boxes, MatchBoxes);

}  // namespace ldie::boxes
