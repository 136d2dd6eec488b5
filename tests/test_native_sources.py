# SPDX-License-Identifier: Apache-2.0
"""The laws of csrc/ that a compiler does not check, each seen to fail where it is broken."""

from __future__ import annotations

import re
from collections.abc import Callable

import native_rules as rules
import pytest

SOURCES = rules.read_sources()
Rule = Callable[[rules.Sources], list[str]]

# A rule, and a file that breaks it: what stands there after the text that is there.
PLANTED: list[tuple[Rule, str, str]] = [
    (rules.namespace_breaches, "roi/roi_align.h", "namespace ldie {\nstruct Stray {};\n}\n"),
    (rules.namespace_breaches, "boxes/match_boxes_cpu.cpp", "namespace ldie::roi {\n}\n"),
    (rules.namespace_breaches, "boxes/match_boxes_cpu.cpp", "using namespace suppression;\n"),
    (rules.suffix_breaches, "roi/roi_align.h", '#include "core/lanes_cpu.h"\n'),
    (rules.suffix_breaches, "roi/roi_align.cu", '#include "core/parallel_cpu.h"\n'),
    (rules.suffix_breaches, "roi/roi_align_cpu.cpp", '#include "core/simt.cuh"\n'),
    (rules.suffix_breaches, "masks/mask_set_cpu.h", '#include "masks/mask_tensors.h"\n'),
    (rules.suffix_breaches, "masks/mask_iou.cpp", '#include "masks/mask_set_cpu.h"\n'),
    (rules.suffix_breaches, "masks/mask_set.h", "#include <torch/csrc/stable/tensor.h>\n"),
    (rules.suffix_breaches, "masks/mask_iou.cu", '#include "masks/rle_area.cu"\n'),
    (rules.word_breaches, "roi/roi_align_cpu.cpp", "int64_t n = (count + size - 1) / size;\n"),
    (rules.word_breaches, "masks/mask_set.h", "int64_t bytes = (width + 7) / 8;\n"),
    (rules.word_breaches, "masks/mask_iou.cu", "const dim3 grid(unsigned(n < most ? n : most));\n"),
    (rules.word_breaches, "masks/mask_iou.cu", "constexpr int64_t kBlocksOfY = 65535;\n"),
    (rules.word_breaches, "masks/mask_iou.cu", "const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;\n"),
    (rules.word_breaches, "masks/mask_iou.cu", "const int64_t step = int64_t(gridDim.x) * kThreads;\n"),
    (rules.word_breaches, "masks/mask_iou.cu", "__syncwarp(0xffffffff);\n"),
    (rules.word_breaches, "boxes/box_iou.cu", "template void box_iou(const BoxIou<float>&, Context&);\n"),
    (rules.word_breaches, "boxes/box_iou.h", "const float most = std::numeric_limits<float>::infinity();\n"),
    (rules.word_breaches, "boxes/box_iou.h", "const float most = -INFINITY;\n"),
    (rules.tensor_side_breaches, "boxes/box_iou.cpp", "  args.count = boxes.size(0);\n"),
    (rules.tensor_side_breaches, "boxes/box_iou.cpp", "  BoxIou<T> args;\n"),
    (rules.tensor_side_breaches, "boxes/box_iou.cpp", "  const auto kind = BoxIouKind(kind_);\n"),
    (rules.tensor_side_breaches, "boxes/box_iou.cpp", "  const auto kind = static_cast<BoxIouKind>(kind_);\n"),
    (rules.tensor_side_breaches, "boxes/box_iou.cpp", "switch (dtype) { case ScalarType::Float: break; }\n"),
    (rules.reach_breaches, "boxes/match_boxes.h", "LDIE_HD int64_t stray(int64_t row) { return row; }\n"),
]


@pytest.mark.parametrize("rule", sorted({rule for rule, _, _ in PLANTED}, key=lambda rule: rule.__name__))
def test_sources_keep(rule: Rule) -> None:
    assert not rule(SOURCES)


@pytest.mark.parametrize(("rule", "path", "breach"), PLANTED)
def test_a_breach_is_seen(rule: Rule, path: str, breach: str) -> None:
    assert path in SOURCES
    new = set(rule(SOURCES | {path: SOURCES[path] + breach})) - set(rule(SOURCES))
    assert [found for found in new if path in found], f"{rule.__name__} passes over {breach!r}"


def test_a_function_in_two_files_is_seen() -> None:
    text = "int64_t area(int64_t height, int64_t width) {\n  return height < 0 || width < 0 ? 0 : height * width;\n}\n"
    twice = {
        "masks/rle_area.cu": SOURCES["masks/rle_area.cu"] + text,
        "roi/roi_align.cu": SOURCES["roi/roi_align.cu"] + text,
    }
    assert any("masks/rle_area.cu" in found for found in rules.word_breaches(SOURCES | twice))


@pytest.mark.parametrize("launcher", ["cpu", "cuda"])
def test_a_function_of_one_side_is_seen(launcher: str) -> None:
    """It moves to a header of that side, or the other side takes it."""
    caller = {"cpu": "boxes/match_boxes.cu", "cuda": "boxes/match_boxes_cpu.cpp"}[launcher]
    planted = {
        "boxes/match_boxes.h": SOURCES["boxes/match_boxes.h"] + "LDIE_HD int64_t stray(int64_t row) { return row; }\n",
        caller: SOURCES[caller] + "int64_t used() { return stray(0); }\n",
    }
    found = [line for line in rules.reach_breaches(SOURCES | planted) if "stray" in line]
    assert found == [f"boxes/match_boxes.h: the {launcher} launchers do not reach stray()"]


def test_every_option_has_its_last() -> None:
    """An enumeration that a schema's integer becomes; checked_option() asks for the greatest."""
    for path, text in SOURCES.items():
        for name in re.findall(r"enum class (\w+) : int64_t", text):
            assert re.search(rf"constexpr {name} last_option\({name}\)", text), f"{path} has no last_option({name})"
