// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <type_traits>

#include "adversarial/class_counts_cpu.h"
#include "adversarial/masked_scale_loss.h"
#include "core/parallel.h"

namespace ldie {
namespace {

constexpr int64_t kBlock = 256;             // pixels summed side by side, so that the sum vectorises
constexpr int64_t kPixelsPerThread = 8192;  // less is not worth waking a thread
constexpr int64_t kPixelsPerStrip = 4096;  // rounded to whole rows: a task, fixed so that sums do not depend on threads

// The map in strips of whole rows, numbered over the batch.
struct Strips {
  int64_t batch, height, width;

  int64_t rows() const { return std::max<int64_t>(1, kPixelsPerStrip / std::max<int64_t>(1, width)); }
  int64_t per_image() const { return (height + rows() - 1) / rows(); }
  int64_t count() const { return width ? batch * per_image() : 0; }
  int64_t grain() const { return 1 + kPixelsPerThread / std::max<int64_t>(1, std::min(height, rows()) * width); }
  int64_t image(int64_t strip) const { return strip / per_image(); }
  int64_t first_row(int64_t strip) const { return strip % per_image() * rows(); }
  int64_t last_row(int64_t strip) const { return std::min(height, first_row(strip) + rows()); }
};

// Calls body(image, first pixel of the image's map, pixels <= kBlock, index in the batch's map) over one strip.
template <typename Body>
void for_blocks(const Strips& strips, int64_t strip, const Body& body) {
  const int64_t image = strips.image(strip), plane = image * strips.height * strips.width;
  const int64_t end = strips.last_row(strip) * strips.width;
  for (int64_t first = strips.first_row(strip) * strips.width; first < end; first += kBlock) {
    body(image, first, std::min(kBlock, end - first), plane + first);
  }
}

template <typename C>
int64_t sum_counts(const C* counts, int64_t size) {
  std::conditional_t<sizeof(C) == 1, int32_t, int64_t> sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += counts[i];
  return sum;
}

// sums[i] += K_i times the i-th term. The pointers are null where the factor is 1.
template <typename T, typename C, typename A>
void add_terms(A* __restrict sums, const T* __restrict scores, const C* __restrict counts, const A* __restrict weight,
               A sign, bool hinge, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const A count = counts ? A(int32_t(counts[i])) : A(1), factor = weight ? sign * weight[i] : sign;
    const A term = count * scale_term(A(scores[i]), factor, hinge);
    sums[i] += count > A(0) ? term : A(0);
  }
}

template <typename T, typename C, typename A>
void add_slopes(A* __restrict sums, const T* __restrict tangent, const T* __restrict scores, const C* __restrict counts,
                const A* __restrict weight, A sign, bool hinge, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const A count = counts ? A(int32_t(counts[i])) : A(1), factor = weight ? sign * weight[i] : sign;
    const A term = count * scale_slope(A(scores[i]), factor, hinge) * A(tangent[i]);
    sums[i] += count > A(0) ? term : A(0);
  }
}

template <typename T, typename C, typename A>
void write_gradient(T* __restrict gradient, const T* __restrict scores, const C* __restrict counts,
                    const A* __restrict weight, A sign, bool hinge, A scaling, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const A count = counts ? A(int32_t(counts[i])) : A(1), factor = weight ? sign * weight[i] : sign;
    const A slope = count * scaling * scale_slope(A(scores[i]), factor, hinge);
    gradient[i] = T(count > A(0) ? slope : A(0));
  }
}

template <typename A>
double total(const A* sums, int64_t size) {
  double result = 0;
  for (int64_t i = 0; i < size; ++i) result += double(sums[i]);
  return result;
}

// Sum of add(block of an image's channel) over one strip; blocks that no class covers are skipped.
template <typename T, typename C, typename Add>
double sum_strip(const ScaleScores<T>& scores, const C* counts, const Strips& strips, int64_t strip, int64_t* mask_sum,
                 const Add& add) {
  using A = acc_t<T>;
  A sums[kBlock] = {};
  for_blocks(strips, strip, [&](int64_t image, int64_t first, int64_t size, int64_t pixel) {
    const C* const block_counts = counts ? counts + pixel : nullptr;
    const int64_t covered = counts ? sum_counts(block_counts, size) : size;
    *mask_sum += covered;
    if (!covered) return;
    for (int64_t channel = 0; channel < scores.channels; ++channel) {
      const int64_t offset = (image * scores.channels + channel) * scores.pixels() + first;
      const A* const plane = scores.weight_plane(image, channel);
      add(sums, offset, block_counts, plane ? plane + first : nullptr, scores.sign(channel), size);
    }
  });
  return total(sums, kBlock);
}

// Sums of all strips, added in order.
struct StripSums {
  double* terms;
  int64_t* covered;
  int64_t count;

  StripSums(const Strips& strips, Context& context)
      : terms(context.scratch_array<double>(strips.count())),
        covered(context.scratch_array<int64_t>(strips.count())),
        count(strips.count()) {}
  double term_sum() const { return total(terms, count); }
  int64_t mask_sum() const {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += covered[i];
    return sum;
  }
};

// Moves scores once and K once (and the masks once): 8 x 3 x 128 x 128 floats are 1.6 MB, in cache or not.
template <typename T, typename C>
void loss(const MaskedScaleLoss<T>& args, Context& context) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  const ClassCounts& source = args.source;
  const Strips strips{scores.batch, scores.height, scores.width};
  const StripSums sums(strips, context);
  const SortedBoxes boxes(source, context);
  C* const counts = static_cast<C*>(args.counts);
  parallel_for(strips.count(), strips.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t image = strips.image(strip), top = strips.first_row(strip), bottom = strips.last_row(strip);
      C* const rows = counts ? counts + (image * scores.height + top) * scores.width : nullptr;
      if (source.source == MaskSource::kBoxes) {
        count_boxes(boxes, image, top, bottom, scores.height, scores.width, rows);
      } else if (source.source == MaskSource::kMasks) {
        count_masks(source, image, top, bottom, rows);
      }
      sums.covered[strip] = 0;
      sums.terms[strip] =
          sum_strip(scores, static_cast<const C*>(counts), strips, strip, &sums.covered[strip],
                    [&](A* block, int64_t offset, const C* block_counts, const A* weight, A sign, int64_t size) {
                      add_terms(block, scores.scores + offset, block_counts, weight, sign, scores.hinge, size);
                    });
    }
  });
  const int64_t mask_sum = sums.mask_sum();
  const double reciprocal = args.normaliser.reciprocal(mask_sum);
  *args.loss = A((sums.term_sum() + args.normaliser.masked_out(mask_sum)) * reciprocal);
  *args.reciprocal = A(reciprocal);
}

// Writes the gradient once: 1.6 MB for 8 x 3 x 128 x 128 floats; the hinge also reads the scores.
template <typename T, typename C>
void backward(const MaskedScaleLossBackward<T>& args) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  const C* const counts = static_cast<const C*>(args.counts);
  const A scaling = *args.grad_loss * *args.reciprocal;
  const Strips strips{scores.batch, scores.height, scores.width};
  parallel_for(strips.count(), strips.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      for_blocks(strips, strip, [&](int64_t image, int64_t first, int64_t size, int64_t pixel) {
        for (int64_t channel = 0; channel < scores.channels; ++channel) {
          const int64_t offset = (image * scores.channels + channel) * scores.pixels() + first;
          const A* const plane = scores.weight_plane(image, channel);
          write_gradient(args.grad_scores + offset, scores.scores + offset, counts ? counts + pixel : nullptr,
                         plane ? plane + first : nullptr, scores.sign(channel), scores.hinge, scaling, size);
        }
      });
    }
  });
}

// Reads the tangent once, and the scores where the hinge needs them.
template <typename T, typename C>
void double_backward(const MaskedScaleLossDoubleBackward<T>& args, Context& context) {
  using A = acc_t<T>;
  const ScaleScores<T>& scores = args.scores;
  const Strips strips{scores.batch, scores.height, scores.width};
  const StripSums sums(strips, context);
  parallel_for(strips.count(), strips.grain(), [&](int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      sums.covered[strip] = 0;
      sums.terms[strip] =
          sum_strip(scores, static_cast<const C*>(args.counts), strips, strip, &sums.covered[strip],
                    [&](A* block, int64_t offset, const C* block_counts, const A* weight, A sign, int64_t size) {
                      add_slopes(block, args.tangent + offset, scores.scores + offset, block_counts, weight, sign,
                                 scores.hinge, size);
                    });
    }
  });
  *args.result = A(sums.term_sum() * double(*args.reciprocal));
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

#define LDIE_INSTANTIATE(T)                                                              \
  template void masked_scale_loss(const MaskedScaleLoss<T>&, Context&);                  \
  template void masked_scale_loss_backward(const MaskedScaleLossBackward<T>&, Context&); \
  template void masked_scale_loss_double_backward(const MaskedScaleLossDoubleBackward<T>&, Context&);
LDIE_INSTANTIATE(float)
LDIE_INSTANTIATE(double)
LDIE_INSTANTIATE(Half)
LDIE_INSTANTIATE(BFloat16)
#undef LDIE_INSTANTIATE

}  // namespace ldie
