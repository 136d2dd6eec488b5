// SPDX-License-Identifier: Apache-2.0
// The tensor side of polygons: what all ops that take them check.
#pragma once

#include "core/argument_tensors.h"
#include "core/tensors.h"
#include "masks/polygon_set.h"

namespace ldie::masks {

// Contiguous tensors that outlive the PolygonSet over them.
class PolygonTensors {
 public:
  PolygonTensors(const char* op, const Tensor& coords_given, const Tensor& parts_given, const Tensor& instances_given)
      : coords_(as_contiguous(coords_given)),
        part_offsets_(as_contiguous(parts_given)),
        instance_offsets_(as_contiguous(instances_given)) {
    const Argument coords =
        Argument(op, "coords", coords_given).dtype(ScalarType::Double).shape({kAnySize, 2}, "[P, 2]");
    Argument(op, "part_offsets", parts_given).device_of(coords).offsets(coords.size(0), "points");
    Argument(op, "instance_offsets", instances_given).device_of(coords).offsets(parts_given.size(0) - 1, "parts");
  }

  int64_t instances() const { return instance_offsets_.size(0) - 1; }

  PolygonSet set() const {
    return {data<double>(coords_), data<int64_t>(part_offsets_), data<int64_t>(instance_offsets_),
            coords_.size(0),       part_offsets_.size(0) - 1,    instances()};
  }

 private:
  Tensor coords_, part_offsets_, instance_offsets_;
};

}  // namespace ldie::masks
