// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <numeric>
#include <type_traits>

#include "adversarial/class_counts_cpu.h"
#include "adversarial/masked_scale_loss.h"
#include "core/instantiate.h"
#include "core/integers.h"
#include "core/parallel_cpu.h"

namespace ldie::adversarial {
namespace {

constexpr int64_t kBlock = 256;             // pixels summed side by side, so that the sum vectorises
constexpr int64_t kPixelsPerThread = 8192;  // less is not worth waking a thread
constexpr int64_t kPixelsPerStrip = 4096;  // rounded to whole rows: a task, fixed so that sums do not depend on threads

// The map in strips of whole rows, numbered over the batch.
struct Strips {
  int64_t batch, height, width;

  int64_t rows() const { return std::max<int64_t>(1, kPixelsPerStrip / std::max<int64_t>(1, width)); }
  int64_t per_image() const { return ceil_div(height, rows()); }
  int64_t count() const { return width ? batch * per_image() : 0; }
  int64_t grain() const { return 1 + kPixelsPerThread / std::max<int64_t>(1, std::min(height, rows()) * width); }
  int64_t image(int64_t strip) const { return strip / per_image(); }
  int64_t first_row(int64_t strip) const { return strip % per_image() * rows(); }
  int64_t last_row(int64_t strip) const { return std::min(height, first_row(strip) + rows()); }
};

// A run of pixels of one image, with their K.
template <typename C>
struct Block {
  int64_t image, first, size;
  const C* counts;
};

// Stands where K or the weight is 1 everywhere, so that one loop serves all. (With a null pointer tested inside it the
// compiler makes masked loads from address 0, each of which traps into microcode.)
template <typename T>
const T* block_of_ones() {
  static const std::array<T, kBlock> ones = [] {
    std::array<T, kBlock> block;
    block.fill(T(1));
    return block;
  }();
  return ones.data();
}

// Calls body(block) over one strip; `counts` is the batch's K, or null.
template <typename C, typename Body>
void for_blocks(const Strips& strips, int64_t strip, const C* counts, const Body& body) {
  const int64_t image = strips.image(strip), plane = image * strips.height * strips.width;
  const int64_t end = strips.last_row(strip) * strips.width;
  const C* const ones = block_of_ones<C>();
  for (int64_t first = strips.first_row(strip) * strips.width; first < end; first += kBlock) {
    body(Block<C>{image, first, std::min(kBlock, end - first), counts ? counts + plane + first : ones});
  }
}

// Calls body(index of the block's first score, its weights, its sign) for each channel.
template <typename T, typename C, typename Body>
void for_channels(const ScaleScores<T>& scores, const Block<C>& block, const Body& body) {
  const acc_t<T>* const ones = block_of_ones<acc_t<T>>();
  for (int64_t channel = 0; channel < scores.channels; ++channel) {
    const acc_t<T>* const weight = scores.weight_plane(block.image, channel);
    body((block.image * scores.channels + channel) * scores.pixels() + block.first,
         weight ? weight + block.first : ones, scores.sign(channel));
  }
}

template <typename C>
int64_t sum_counts(const C* counts, int64_t size) {
  std::conditional_t<sizeof(C) == 1, int32_t, int64_t> sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += counts[i];
  return sum;
}

// sums[i] += K_i times the i-th term. Where K = 0 the term is dropped, not multiplied: it may be NaN.
template <typename T, typename C, typename A>
void add_terms(A* __restrict sums, const T* __restrict scores, const C* __restrict counts, const A* __restrict weight,
               A sign, bool hinge, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const A count = A(int32_t(counts[i])), term = count * scale_term(A(scores[i]), sign * weight[i], hinge);
    sums[i] += count > A(0) ? term : A(0);
  }
}

template <typename T, typename C, typename A>
void add_slopes(A* __restrict sums, const T* __restrict tangent, const T* __restrict scores, const C* __restrict counts,
                const A* __restrict weight, A sign, bool hinge, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const A count = A(int32_t(counts[i])), slope = count * scale_slope(A(scores[i]), sign * weight[i], hinge);
    sums[i] += count > A(0) ? slope * A(tangent[i]) : A(0);
  }
}

template <typename T, typename C, typename A>
void write_gradient(T* __restrict gradient, const T* __restrict scores, const C* __restrict counts,
                    const A* __restrict weight, A sign, bool hinge, A scaling, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const A count = A(int32_t(counts[i])), slope = count * scale_slope(A(scores[i]), sign * weight[i], hinge);
    gradient[i] = T(count > A(0) ? scaling * slope : A(0));
  }
}

struct Sums {
  double terms;
  int64_t covered;
};

// Adds up one strip by add(terms, block, index, weight, sign); blocks that no class covers are skipped.
template <typename T, typename C, typename Add>
Sums sum_strip(const ScaleScores<T>& scores, const C* counts, const Strips& strips, int64_t strip, const Add& add) {
  using A = acc_t<T>;
  A terms[kBlock] = {};
  int64_t mask_sum = 0;
  for_blocks(strips, strip, counts, [&](const Block<C>& block) {
    const int64_t covered = sum_counts(block.counts, block.size);
    mask_sum += covered;
    if (!covered) return;
    for_channels(scores, block,
                 [&](int64_t index, const A* weight, A sign) { add(terms, block, index, weight, sign); });
  });
  return {std::accumulate(terms, terms + kBlock, 0.0), mask_sum};
}

// Sums of all strips, each after prepare(strip), added in order.
template <typename T, typename C, typename Prepare, typename Add>
Sums sum_strips(const ScaleScores<T>& scores, const C* counts, Context& context, const Prepare& prepare,
                const Add& add) {
  const Strips strips{scores.batch, scores.height, scores.width};
  Sums* const parts = context.scratch_array<Sums>(strips.count());
  parallel_for(strips.count(), strips.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      prepare(strips, strip);
      parts[strip] = sum_strip(scores, counts, strips, strip, add);
    }
  });
  Sums all{0, 0};
  for (int64_t strip = 0; strip < strips.count(); ++strip) {
    all.terms += parts[strip].terms;
    all.covered += parts[strip].covered;
  }
  return all;
}

// Moves scores once and K once (and the masks once): 8 x 3 x 128 x 128 floats are 1.6 MB, in cache or not.
template <typename T, typename C>
void loss(const MaskedScaleLoss<T>& args, Context& context) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  C* const counts = static_cast<C*>(args.counts);
  const SortedBoxes boxes(args.source, context);
  const Sums sums = sum_strips(
      scores, static_cast<const C*>(counts), context,
      [&](const Strips& strips, int64_t strip) {
        if (!counts) return;
        const int64_t image = strips.image(strip), top = strips.first_row(strip), bottom = strips.last_row(strip);
        C* const rows = counts + (image * scores.height + top) * scores.width;
        if (args.source.source == MaskSource::kBoxes) {
          count_boxes(boxes, image, top, bottom, scores.height, scores.width, rows);
        } else {
          count_masks(args.source, image, top, bottom, rows);
        }
      },
      [&](A* terms, const Block<C>& block, int64_t index, const A* weight, A sign) {
        add_terms(terms, scores.scores + index, block.counts, weight, sign, scores.hinge, block.size);
      });
  const double reciprocal = args.normaliser.reciprocal(sums.covered);
  *args.loss = A((sums.terms + args.normaliser.masked_out(sums.covered)) * reciprocal);
  *args.reciprocal = A(reciprocal);
}

// Writes the gradient once: 1.6 MB for 8 x 3 x 128 x 128 floats; the hinge also reads the scores.
template <typename T, typename C>
void backward(const MaskedScaleLossBackward<T>& args) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  const A scaling = *args.grad_loss * *args.reciprocal;
  const Strips strips{scores.batch, scores.height, scores.width};
  parallel_for(strips.count(), strips.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      for_blocks(strips, strip, static_cast<const C*>(args.counts), [&](const Block<C>& block) {
        for_channels(scores, block, [&](int64_t index, const A* weight, A sign) {
          write_gradient(args.grad_scores + index, scores.scores + index, block.counts, weight, sign, scores.hinge,
                         scaling, block.size);
        });
      });
    }
  });
}

// Reads the tangent once, and the scores where the hinge needs them.
template <typename T, typename C>
void double_backward(const MaskedScaleLossDoubleBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  const Sums sums = sum_strips(
      scores, static_cast<const C*>(args.counts), context, [](const Strips&, int64_t) {},
      [&](A* terms, const Block<C>& block, int64_t index, const A* weight, A sign) {
        add_slopes(terms, args.tangent + index, scores.scores + index, block.counts, weight, sign, scores.hinge,
                   block.size);
      });
  *args.result = A(sums.terms * double(*args.reciprocal));
}

}  // namespace

template <typename T>
void masked_scale_loss(const MaskedScaleLoss<T>& args, Context& context) {
  args.wide ? loss<T, int32_t>(args, context) : loss<T, uint8_t>(args, context);
}

template <typename T>
void masked_scale_loss_backward(const MaskedScaleLossBackward<T>& args, Context&) {
  args.wide ? backward<T, int32_t>(args) : backward<T, uint8_t>(args);
}

template <typename T>
void masked_scale_loss_double_backward(const MaskedScaleLossDoubleBackward<T>& args, Context& context) {
  args.wide ? double_backward<T, int32_t>(args, context) : double_backward<T, uint8_t>(args, context);
}

LDIE_INSTANTIATE(masked_scale_loss, MaskedScaleLoss);
LDIE_INSTANTIATE(masked_scale_loss_backward, MaskedScaleLossBackward);
LDIE_INSTANTIATE(masked_scale_loss_double_backward, MaskedScaleLossDoubleBackward);

}  // namespace ldie::adversarial
