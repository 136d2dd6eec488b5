"""Lists of integers as tensors, on every backend."""

from __future__ import annotations

import pytest
import torch
from backends import Backend
from op_checks import assert_compiles

from ldie_ext.ops.ragged.integers import integers


@pytest.mark.sanitize
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
def test_same_as_tensor(backend: Backend, count: int) -> None:
    values = torch.randint(-(2**63), 2**63 - 1, (count,)).tolist()
    result = integers(values, torch.empty(2, 3, dtype=torch.float16, device=backend.device))
    assert result.device.type == backend.device.type
    assert result.dtype == torch.int64
    assert result.tolist() == values


def test_dispatcher_contract(backend: Backend) -> None:
    torch.library.opcheck(backend.op("integers"), (torch.empty(0, device=backend.device), [3, -4]))


def test_compiles(backend: Backend) -> None:
    assert_compiles(lambda x: x + integers([len(x), 2], x), torch.zeros(2, device=backend.device))
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: integers([x.shape[0], 7], x), fullgraph=True, backend="aot_eager", dynamic=True)
    for count in (3, 5):
        assert compiled(torch.zeros(count, device=backend.device)).tolist() == [count, 7]
