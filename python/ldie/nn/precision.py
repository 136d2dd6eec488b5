# SPDX-License-Identifier: Apache-2.0
"""What is computed in which precision, whatever the networks are computed in."""

from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """As float32, in which losses are computed whatever the networks are; float64 stays."""
    return values if values.dtype.itemsize >= 4 else values.float()
