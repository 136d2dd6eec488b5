// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "boxes/candidate_tile_cpu.h"
#include "boxes/cell_order_cpu.h"
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

// Candidates of one image that are worked on together.
template <typename T>
struct Piece {
  int64_t image, first, count;
  const T* boxes;         // [count, 4]
  const int32_t* places;  // [count] of each from `first` on; null: in order
};

// The work is cut into pieces of candidates of one image each; part p of P takes the items p, p + P, p + 2 P, ..., as
// neighbours (anchors of one level) cost about the same. A piece is a tile, or, where neighbours are not near each
// other, so many candidates that sorting them by cells makes tiles of some that are.
template <typename T>
class Matching {
 public:
  Matching(const MatchBoxes<T>& args, Context& context) : args_(args), starts_{0} {
    prepare_ground_truth();
    sorted_ = int64_t(gts_.size()) >= kSortFrom * args.batch && is_scattered(args.candidates, args.count);
    piece_size_ = sorted_ ? sorted_piece_size() : Tile::kSize;
    pieces_ = ceil_div(args.count, piece_size_);
    parts_ = std::min(num_threads(), items());
    near_ = context.scratch_array<int32_t>(2 * parts_ * int64_t(gts_.size()));
    if (!args.allow_low_quality) return;
    rows_ = context.scratch_array<int32_t>(args.batch * args.count);
    peaks_.resize(size_t(parts_) * gts_.size());
  }

  // What must be moved is 16 bytes a candidate in and 12 out, and sorting them moves 20 more there and back within the
  // cache; the pairs that the hulls leave are the time.
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
  static constexpr int64_t kSortFrom = 16;  // ground truths an image; fewer are compared with all as quickly

  struct Best {
    Values iou;
    Rows row, match;
  };

  int64_t items() const { return pieces_ * args_.batch; }
  int64_t owner(int64_t image, int64_t piece) const { return (piece * args_.batch + image) % parts_; }

  // At most kMost, which stay in the second-level cache, and as many pieces for each thread.
  int64_t sorted_piece_size() const {
    constexpr int64_t kMost = 8192;
    const int64_t pieces = ceil_div(args_.count, kMost);
    return round_up(ceil_div(args_.count, args_.batch == 1 ? round_up(pieces, num_threads()) : pieces), Tile::kSize);
  }

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
    CellOrder<T> order;
    int64_t loaded = -1;
    // The last few first: large anchors stand last, and once a ground truth has met one of about its size, the many
    // small ones within it, all of one IoU, are no peaks any more.
    const int64_t own = ceil_div(items() - part, parts_);
    for (int64_t i = 0; i < own; ++i) {
      const int64_t item = part + (i + own - own / 16) % own * parts_;
      const int64_t image = item % args_.batch, first = item / args_.batch * piece_size_;
      const int64_t wanted = args_.shared ? first : item;
      const T* const boxes = args_.candidates_of(image) + 4 * first;
      Piece<T> piece{image, first, std::min(piece_size_, args_.count - first), boxes, nullptr};
      if (sorted_) {
        if (wanted != loaded) order.sort(boxes, piece.count);
        loaded = wanted;
        piece.boxes = order.boxes();
        piece.places = order.places();
      }
      match_piece(part, piece);
    }
  }

  void match_piece(int64_t part, const Piece<T>& piece) {
    Tile boxes;
    for (int64_t first = (piece.count - 1) / Tile::kSize * Tile::kSize; first >= 0; first -= Tile::kSize) {
      boxes.load(piece.boxes + 4 * first, std::min(Tile::kSize, piece.count - first));
      match_tile(part, piece, first, boxes);
    }
  }

  // Whether the IoUs of the ground truth with these boxes, or boxes within this hull, can be anything but 0.
  template <typename V>
  static bool counts(const GroundTruth<T>& gt, const Tile& boxes, const Box<V>& others) {
    return !gt.ordinary | !boxes.ordinary | any_true(touches(same_lanes<V>(gt.box), others));
  }

  Values iou_with(const GroundTruth<T>& gt, const Box<Values>& boxes, const Values& areas) const {
    return args_.iou_of(box_intersection(same_lanes<Values>(gt.box), boxes), all_lanes(gt.area), areas);
  }

  // The tile's boxes are those of the piece from `first` on.
  void match_tile(int64_t part, const Piece<T>& piece, int64_t first, const Tile& boxes) {
    int32_t* const near_tile = near_ + 2 * part * int64_t(gts_.size());
    int32_t* const near_group = near_tile + gts_.size();
    int64_t in_tile = 0;
    for (int64_t i = starts_[piece.image]; i < starts_[piece.image + 1]; ++i) {
      near_tile[in_tile] = int32_t(i);
      in_tile += counts(gts_[i], boxes, boxes.hull);
    }
    for (int64_t group = 0; group < boxes.groups; ++group) {
      int64_t in_group = 0;  // selected without a branch, which nothing could predict
      for (int64_t k = 0; k < in_tile; ++k) {
        near_group[in_group] = near_tile[k];
        in_group += counts(gts_[near_tile[k]], boxes, boxes.boxes(group));
      }
      match_group(near_group, in_group, part, piece, first + group * kGroup, boxes, group);
    }
  }

  // The group's boxes are those of the piece from `first` on; `near` is written over.
  void match_group(int32_t* near, int64_t near_count, int64_t part, const Piece<T>& piece, int64_t first,
                   const Tile& boxes, int64_t group) {
    Peak<T>* const peaks = args_.allow_low_quality ? peaks_.data() + part * int64_t(gts_.size()) : nullptr;
    const bool any_gt = starts_[piece.image] < starts_[piece.image + 1];
    Values best{};
    Rows row = Rows{} + (any_gt ? gts_[starts_[piece.image]].row : kBelowLow);
    int64_t raised = 0;
    for (int64_t k = 0; k < near_count; ++k) {
      const GroundTruth<T>& gt = gts_[near[k]];
      const Values iou = iou_with(gt, boxes.boxes(group), boxes.areas(group));
      const Rows better = exceeds(iou, best);
      best = better ? iou : best;
      row = better ? Rows{} + gt.row : row;
      if (peaks == nullptr) continue;
      near[raised] = near[k];
      raised += any_lane((iou < peaks[near[k]].iou) == Rows{});
    }
    store({best, row, any_gt ? args_.match(best, row) : Rows{} + kBelowLow}, piece, first);
    for (int64_t k = 0; k < raised; ++k) {  // few; a call in the loop above would keep its values out of registers
      raise(peaks[near[k]], iou_with(gts_[near[k]], boxes.boxes(group), boxes.areas(group)), piece, first);
    }
  }

  static void raise(Peak<T>& peak, const Values& iou, const Piece<T>& piece, int64_t first) {
    T greatest = iou[0];
    for (int64_t lane = 1; lane < kGroup; ++lane) greatest = exceeds(iou[lane], greatest) ? iou[lane] : greatest;
    if (!peak.raise(greatest)) return;
    for (int64_t lane = 0; lane < kGroup; ++lane) {
      if (exceeds(greatest, iou[lane])) continue;
      peak.places.add(piece.first + (piece.places ? piece.places[first + lane] : first + lane));
    }
  }

  void store(const Best& best, const Piece<T>& piece, int64_t first) const {
    const int64_t count = std::min(kGroup, piece.count - first);
    const int64_t begin = piece.image * args_.count + piece.first;
    if (piece.places != nullptr) return store_apart(best, begin, piece.places + first, count);
    store_lanes(args_.iou + begin + first, best.iou, count);
    store_lanes(args_.matches + begin + first, best.match, count);
    if (rows_ != nullptr) store_lanes(rows_ + begin + first, best.row, count);
  }

  void store_apart(const Best& best, int64_t begin, const int32_t* places, int64_t count) const {
    for (int64_t lane = 0; lane < count; ++lane) {
      const int64_t i = begin + places[lane];
      args_.iou[i] = best.iou[lane];
      args_.matches[i] = best.match[lane];
      if (rows_ != nullptr) rows_[i] = int32_t(best.row[lane]);
    }
  }

  // Leaves the places of each ground truth's greatest IoU in the parts that met it. Where it is 0, all candidates of
  // the image have it.
  void keep_greatest() {
    all_restored_.assign(size_t(args_.batch), false);
    for (int64_t image = 0; image < args_.batch; ++image) {
      for (int64_t i = starts_[image]; i < starts_[image + 1]; ++i) {
        Peak<T> greatest;
        for (int64_t part = 0; part < parts_; ++part) {
          if (!peak(part, i).places.empty() && greatest.raise(peak(part, i).iou)) greatest.places.add(part);
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
    for (int64_t piece = 0; piece < pieces_; ++piece) {
      if (owner(image, piece) != part) continue;
      const int64_t first = piece * piece_size_, begin = image * args_.count + first;
      std::copy_n(rows_ + begin, std::min(piece_size_, args_.count - first), args_.matches + begin);
    }
  }

  void restore_peaks(int64_t part, int64_t image) {
    for (int64_t i = starts_[image]; i < starts_[image + 1]; ++i) {
      peak(part, i).places.for_each_block([&](int64_t first, int64_t last) {
        if (last - first == 1) return restore(image, first);
        for (; first < std::min(last, args_.count); first += kGroup) {
          if (owner(image, first / piece_size_) == part) {
            restore_group(image, first, std::min(last, first + kGroup), gts_[i], peak(part, i).iou);
          }
        }
      });
    }
  }

  void restore(int64_t image, int64_t candidate) const {
    if (candidate >= args_.count) return;  // what filled the last register
    const int64_t i = image * args_.count + candidate;
    args_.matches[i] = rows_[i];
  }

  void restore_group(int64_t image, int64_t first, int64_t last, const GroundTruth<T>& gt, T greatest) const {
    const int64_t count = std::min(last, args_.count) - first;
    const Box<Values> boxes = load_group(args_.candidates_of(image) + 4 * first, count);
    const Rows at_peak = iou_with(gt, boxes, box_area(boxes)) == greatest;
    for (int64_t lane = 0; lane < count; ++lane) {
      if (at_peak[lane]) restore(image, first + lane);
    }
  }

  Peak<T>& peak(int64_t part, int64_t gt) { return peaks_[size_t(part) * gts_.size() + size_t(gt)]; }

  const MatchBoxes<T>& args_;
  bool sorted_;
  int64_t piece_size_, pieces_, parts_;
  std::vector<GroundTruth<T>> gts_;  // image by image, without those left out
  std::vector<int64_t> starts_;      // [batch + 1] of the images in gts_
  int32_t* near_ = nullptr;          // [parts, 2, gts] that touch a tile, and that touch a group of it
  int32_t* rows_ = nullptr;          // [batch, count] of the greatest IoU, for the low-quality rule
  std::vector<Peak<T>> peaks_;       // [parts, gts]
  std::vector<bool> all_restored_;
};

}  // namespace

template <typename T>
void match_boxes(const MatchBoxes<T>& args, Context& context) {
  Matching<T>(args, context).run();
}

LDIE_INSTANTIATE_WIDE(match_boxes, MatchBoxes);

}  // namespace ldie::boxes
