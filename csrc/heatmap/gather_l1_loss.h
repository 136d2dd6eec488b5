// SPDX-License-Identifier: Apache-2.0
// Mean absolute error of maps at one cell per object (CenterNet, arXiv:1904.07850, equations 2 and 3):
//   loss = sum |maps[b, c, index[b, m]] - target[b, m, c]| / (counted elements + 1e-4)
#pragma once

#include <cstdint>

#include "core/context.h"
#include "core/half.h"
#include "core/hd.h"

namespace ldie::heatmap {

template <typename T>
struct GatherL1 {
  const T* maps;         // [batch, channels, area]
  const int64_t* index;  // [batch, slots], cells of the map
  const T* target;       // [batch, slots, channels]
  const bool* valid;     // [batch, slots]
  int64_t batch, channels, area, slots;

  LDIE_HD int64_t total_slots() const { return batch * slots; }

  // A slot (counted through the batch) that is not valid, or whose cell is outside the map, takes no part.
  LDIE_HD bool counts(int64_t slot) const { return valid[slot] & (index[slot] >= 0) & (index[slot] < area); }

  // The image of the slot is told, too: divisions are slow.
  LDIE_HD int64_t cell(int64_t image, int64_t slot, int64_t channel) const {
    return (image * channels + channel) * area + index[slot];
  }

  LDIE_HD acc_t<T> error(int64_t image, int64_t slot, int64_t channel) const {
    return acc_t<T>(maps[cell(image, slot, channel)]) - acc_t<T>(target[slot * channels + channel]);
  }

  LDIE_HD acc_t<T> distance(int64_t image, int64_t slot, int64_t channel) const {
    const acc_t<T> difference = error(image, slot, channel);
    return difference < 0 ? -difference : difference;
  }
};

// A sum of absolute errors and the number of slots in it.
struct L1Sum {
  double sum;
  int64_t slots;

  LDIE_HD L1Sum operator+(const L1Sum& other) const { return {sum + other.sum, slots + other.slots}; }
};

template <typename T>
struct GatherL1Loss {
  GatherL1<T> inputs;
  T* loss;
  acc_t<T>* scale;  // what the loss divides by, inverted: the backward's factor

  LDIE_HD void finish(const L1Sum& total) const {
    const double inverse = 1 / (double(total.slots * inputs.channels) + 1e-4);
    *scale = acc_t<T>(inverse);
    *loss = T(acc_t<T>(total.sum * inverse));
  }
};

template <typename T>
struct GatherL1LossBackward {
  GatherL1<T> inputs;
  const T* grad_loss;
  const acc_t<T>* scale;
  T* grad_maps;  // [batch, channels, area]
  bool zeroed;   // the gradient is zero already (CPU)

  // Slots of one image may share a cell: the first of them adds up their signs, so that a cell is written once and its
  // gradient depends on no order.
  LDIE_HD bool shares_cell(int64_t slot, int64_t other) const {
    return inputs.valid[other] & (inputs.index[other] == inputs.index[slot]);
  }

  LDIE_HD int64_t sign(int64_t image, int64_t slot, int64_t channel) const {
    const acc_t<T> error = inputs.error(image, slot, channel);
    return int64_t(error > 0) - int64_t(error < 0);
  }

  LDIE_HD void write(int64_t image, int64_t slot, int64_t channel, int64_t signs) const {
    grad_maps[inputs.cell(image, slot, channel)] = T(acc_t<T>(signs) * (acc_t<T>(*grad_loss) * *scale));
  }
};

template <typename T>
void gather_l1_loss(const GatherL1Loss<T>& args, Context& context);

template <typename T>
void gather_l1_loss_backward(const GatherL1LossBackward<T>& args, Context& context);

}  // namespace ldie::heatmap
