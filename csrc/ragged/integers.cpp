// SPDX-License-Identifier: Apache-2.0
#include "ragged/integers.h"

#include <algorithm>

#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::ragged {
namespace {

Tensor integers_op(const Tensor& like, const std::vector<int64_t>& values) {
  const int64_t total = int64_t(values.size());
  Tensor result = make_empty(like, {total}, ScalarType::Long);
  TensorContext context(result);
  for (int64_t begin = 0; begin < total; begin += Integers::kMost) {
    Integers args{
        .values = {}, .count = std::min(total - begin, Integers::kMost), .out = mutable_data<int64_t>(result) + begin};
    std::copy_n(&values[size_t(begin)], args.count, args.values);
    integers(args, context);
  }
  return result;
}

LDIE_OP(integers, integers_op, "(Tensor like, SymInt[] values) -> Tensor");

}  // namespace
}  // namespace ldie::ragged
