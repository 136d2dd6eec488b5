"""The same choices at the corners of ReLUs in two runs of one model.

An activation within rounding of 0 may be let through in one run and not in the other, whoever computes. Values do not
notice, but the gradient jumps there: in a batch of RoIs one such activation moves single elements of a head's gradient
by some 1e-3 of its largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Corners(TorchFunctionMode):
    """While active, notes in `passed` which activations each ReLU lets through, or repeats what another noted.

    `farthest` tells how far from 0 were those that a run would have chosen otherwise for than what it repeats, in units
    of the largest activation beside them.
    """

    def __init__(self, repeated: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.passed: list[Tensor] = []
        self.farthest = 0.0
        self._repeated = repeated

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is F.relu:
            return self._relu(args[0])
        return function(*args, **(kwargs or {}))

    def _relu(self, activations: Tensor) -> Tensor:
        passed = activations > 0
        if self._repeated is not None:
            own, passed = passed, self._repeated[len(self.passed)]
            sizes = activations.detach().abs()
            moved = sizes[own != passed]
            if len(moved):
                self.farthest = max(self.farthest, (moved.max() / sizes.max()).item())
        self.passed.append(passed)
        return activations.masked_fill(~passed, 0)
