// SPDX-License-Identifier: Apache-2.0
// segment_mean_pool: the mean of a feature map over the pixels of each segment, and its transpose.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"

namespace ldie::editing {

constexpr int32_t kNoSegment = -1;

// Which pixel belongs to which segment, and how the features of that size stand in memory.
struct SegmentMap {
  const int64_t* ids;  // [batch, pixels]
  int64_t batch, channels, pixels, segments;
  bool channels_last;  // [batch, pixels, channels], else [batch, channels, pixels]

  // Numbers that are no segment's are all the same.
  LDIE_HD int32_t segment(int64_t image, int64_t pixel) const {
    const int64_t id = ids[image * pixels + pixel];
    return id >= 0 && id < segments ? int32_t(id) : kNoSegment;
  }
  // Of the features.
  LDIE_HD int64_t element(int64_t image, int64_t channel, int64_t pixel) const {
    return channels_last ? (image * pixels + pixel) * channels + channel
                         : (image * channels + channel) * pixels + pixel;
  }
  // Of the means, [batch, segments, channels].
  LDIE_HD int64_t cell(int64_t image, int64_t segment, int64_t channel) const {
    return (image * segments + segment) * channels + channel;
  }
};

template <typename T>
struct SegmentMeanPool {
  SegmentMap map;
  const T* features;
  T* means;         // [batch, segments, channels]
  int64_t* counts;  // [batch, segments]: pixels, which the backward divides by

  // An empty segment's mean is 0.
  LDIE_HD void finish(int64_t image, int64_t segment, int64_t channel, double sum, int64_t count) const {
    means[map.cell(image, segment, channel)] = T(count > 0 ? acc_t<T>(sum / double(count)) : acc_t<T>(0));
    if (channel == 0) counts[image * map.segments + segment] = count;
  }
};

template <typename T>
void segment_mean_pool(const SegmentMeanPool<T>& args, Context& context);

template <typename T>
struct SegmentMeanPoolBackward {
  SegmentMap map;
  const T* grad;          // [batch, segments, channels]
  const int64_t* counts;  // [batch, segments]
  T* grad_features;

  // What each pixel of the segment has of the gradient of its mean.
  LDIE_HD acc_t<T> share(int64_t image, int32_t segment) const {
    const int64_t count = segment == kNoSegment ? 0 : counts[image * map.segments + segment];
    return count > 0 ? acc_t<T>(1) / acc_t<T>(count) : acc_t<T>(0);
  }
  LDIE_HD T slope(int64_t image, int32_t segment, int64_t channel, acc_t<T> share) const {
    if (segment == kNoSegment) return T(acc_t<T>(0));
    return T(acc_t<T>(grad[map.cell(image, segment, channel)]) * share);
  }
};

template <typename T>
void segment_mean_pool_backward(const SegmentMeanPoolBackward<T>& args, Context& context);

}  // namespace ldie::editing
