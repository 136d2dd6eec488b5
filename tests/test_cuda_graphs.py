"""What never waits for the device can be captured in a CUDA graph, and the documentation says what that is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from backends import AVAILABLE, CUDA, SANITIZED, Backend
from op_cases import CASES, Case, markdown_table
from op_checks import assert_same

GPU_CASES = [(CUDA, case) for case in CASES if CUDA in AVAILABLE and not case.waits]
WARM_UPS = 3  # as torch's documentation has it: libraries choose their algorithms and autograd its streams


@pytest.mark.skipif(SANITIZED, reason="memcheck runs without the caching allocator, which graphs need")
@pytest.mark.parametrize(("backend", "case"), GPU_CASES, indirect=["backend"], ids=str)
def test_replay_computes_anew(backend: Backend, case: Case) -> None:
    inputs = case.inputs_on(backend.device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            case.run(inputs)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = case.run(inputs)
    for _ in range(2):
        with torch.no_grad():
            for static, fresh in zip(inputs, case.inputs_on(backend.device)):
                static.copy_(fresh)
        graph.replay()
        assert_same(tuple(captured), tuple(case.run(inputs)))


def test_documentation_is_this_table() -> None:
    documented = (Path(__file__).parents[1] / "docs" / "cuda_graphs.md").read_text()
    assert markdown_table() in documented, f"docs/cuda_graphs.md needs this table:\n{markdown_table()}"
