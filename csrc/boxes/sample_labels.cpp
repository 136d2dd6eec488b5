// SPDX-License-Identifier: Apache-2.0
#include "boxes/sample_labels.h"

#include <tuple>

#include "core/argument_tensors.h"
#include "core/library_tensors.h"
#include "core/tensors.h"

namespace ldie::boxes {
namespace {

constexpr const char* kOp = "sample_labels";

void check_inputs(const Tensor& matches_, const Tensor& seeds, int64_t num_samples, int64_t max_positives) {
  const Argument matches =
      Argument(kOp, "matches", matches_).dtype(ScalarType::Long).shape({kAnySize, kAnySize}, "[B, A]");
  matches.fewer_than_2_31(matches.size(1), "columns");
  Argument(kOp, "seeds", seeds)
      .dtype(ScalarType::Long)
      .shape({matches.size(0)}, "[B], one per image")
      .device_of(matches);
  check_positive(kOp, "num_samples", num_samples);
  if (max_positives < 0 || max_positives > num_samples) {
    check_failed(kOp, "max_positives must be between 0 and num_samples, got ", max_positives);
  }
}

std::tuple<Tensor, Tensor, Tensor> sample_labels_op(const Tensor& matches_, const Tensor& seeds_, int64_t num_samples,
                                                    int64_t max_positives) {
  check_inputs(matches_, seeds_, num_samples, max_positives);
  const Tensor matches = as_contiguous(matches_), seeds = as_contiguous(seeds_);
  const int64_t batch = matches.size(0);
  Tensor index = make_empty(matches, {batch, num_samples});
  Tensor positive = make_empty(matches, {batch, num_samples}, ScalarType::Bool);
  Tensor counts = make_empty(matches, {batch, 2});

  TensorContext context(matches);
  sample_labels({data<int64_t>(matches), data<int64_t>(seeds), batch, matches.size(1), num_samples, max_positives,
                 mutable_data<int64_t>(index), mutable_data<uint8_t>(positive), mutable_data<int64_t>(counts)},
                context);
  return {index, positive, counts};
}

LDIE_OP(sample_labels, sample_labels_op,
        "(Tensor matches, Tensor seeds, SymInt num_samples, SymInt max_positives) -> (Tensor, Tensor, Tensor)");

}  // namespace
}  // namespace ldie::boxes
