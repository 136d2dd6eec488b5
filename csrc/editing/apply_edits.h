// SPDX-License-Identifier: Apache-2.0
// apply_edits: each sample's sequence of edits in one pass over its pixels, and the gradients by recomputation.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "editing/edit_sequences.h"
#include "editing/element.h"

namespace ldie::editing {

enum class Layout : int64_t { kChannelsFirst, kChannelsLast };
constexpr Layout last_option(Layout) { return Layout::kChannelsLast; }

template <typename T>
struct ApplyEdits {
  const T* images;  // [batch, 3, pixels], or [batch, pixels, 3]
  Layout layout;
  int64_t batch, pixels, width;
  EditSequences<acc_t<T>> sequences;
  T* out;  // as images
};

template <typename T>
void apply_edits(const ApplyEdits<T>& args, Context& context);

template <typename T>
struct ApplyEditsBackward {
  const T *grad, *images;  // [batch, 3, pixels]
  int64_t batch, pixels, width;
  EditSequences<acc_t<T>> sequences;
  T* grad_images;         // [batch, 3, pixels]
  acc_t<T>* grad_params;  // [batch, steps, kParameters]
};

template <typename T>
void apply_edits_backward(const ApplyEditsBackward<T>& args, Context& context);

}  // namespace ldie::editing
