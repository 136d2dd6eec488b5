// SPDX-License-Identifier: Apache-2.0
// Memory formats of [B, C, H, W] on the tensor side: in order, or channels last.
#pragma once

#include "core/tensors.h"

namespace ldie {

using torch::headeronly::MemoryFormat;

// Whether the elements already stand in this order, without gaps; sides of 1 may have any stride, as in PyTorch.
inline bool stands_in_format(const Tensor& tensor, bool channels_last) {
  constexpr int kContiguous[] = {3, 2, 1, 0}, kChannelsLast[] = {1, 3, 2, 0};
  int64_t stride = 1;
  for (const int dim : channels_last ? kChannelsLast : kContiguous) {
    if (tensor.size(dim) != 1 && tensor.stride(dim) != stride) return false;
    stride *= tensor.size(dim);
  }
  return true;
}

inline Tensor in_format(const Tensor& tensor, bool channels_last) {
  if (stands_in_format(tensor, channels_last)) return tensor;
  return torch::stable::contiguous(tensor, channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
}

inline Tensor make_empty_in_format(const Tensor& like, std::initializer_list<int64_t> size, bool channels_last) {
  const std::vector<int64_t> sizes(size);
  const MemoryFormat format = channels_last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
  return make_in_pages(sizes, like.scalar_type(), channels_last, [&] {
    return torch::stable::empty(sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt, format);
  });
}

}  // namespace ldie
