# SPDX-License-Identifier: Apache-2.0
"""The editor as one graph, for export: previews and numbered words in, steps out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ldie.errors import ConfigError, ExportError
from ldie.export.exportable import Example, Exportable
from ldie.tasks.editing.model import StepModel
from ldie.tasks.editing.reading import padded, previews
from ldie.tasks.editing.sample import EditInput
from ldie.tasks.editing.words.vocabulary import END, PAD, SPECIAL, START, UNKNOWN

TOLERANCE = 1e-4
"""By which a parameter may differ."""


class EditorGraph(nn.Module):
    """What an editor decides, in tensors of fixed shapes.

    Args:
        model: In eval mode.
    """

    def __init__(self, model: StepModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, words: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest steps.

        Args:
            images: uint8 [B, 3, S, S], RGB, previews.
            words: int64 [B, W], padded by 0.
            regions: bool [B, S, S], where the steps act; all true for everywhere.

        Returns:
            int64 [B, T], numbers of ``EditOp``, NONE behind the last step; and their parameters, float32 [B, T, 24].
        """
        episode = self.model(images.float() / 255, words, regions)
        return episode.ops, episode.params.float()


def exportable(
    model: StepModel, steps: int, size: tuple[int, int] | None, batch_size: int, inputs: Sequence[EditInput]
) -> Exportable:
    """See :meth:`ldie.contract.Model.exportable`; the model's forward gives an episode of ``steps`` steps.

    Raises:
        ConfigError: Another size than that of the model's previews.
    """
    side, width = model.preview_size, model.max_words + 2
    if size not in (None, (side, side)):
        raise ConfigError(f"--size must be left out or {side}x{side}, what this editor sees of a picture, got {size}")
    examples = {"noise": _noise(model, batch_size)}
    if inputs:
        some = [inputs[k % len(inputs)] for k in range(batch_size)]
        images, regions = previews(some, side)
        numbers = padded([model.vocabulary.encode(each.request, model.max_words).ids for each in some])
        everywhere = torch.ones(batch_size, side, side, dtype=torch.bool)
        words = nn.functional.pad(numbers, (0, width - numbers.shape[1]), value=PAD)
        examples["requests of its data"] = (images, words, everywhere if regions is None else regions)
    return Exportable(
        graph=EditorGraph(model),
        inputs=("images", "words", "regions"),
        outputs=("ops", "params"),
        examples=[Example(name, given, _Comparison(model, given)) for name, given in examples.items()],
        facts={
            "operators": list(model.facts["operators"]),
            "vocabulary": list(model.vocabulary.words),
            "images": f"uint8 [{batch_size}, 3, {side}, {side}], RGB, 0 to 255; whole pictures, their aspect ignored",
            "words": f"int64 [{batch_size}, {width}]: {START}, the words' places in vocabulary + {SPECIAL}, {UNKNOWN} "
            f"for one that is not in it, {END}, then {PAD}",
            "regions": f"bool [{batch_size}, {side}, {side}], where steps act; all true for everywhere",
            "ops": f"int64 [{batch_size}, {steps}], numbers of ldie_ext.EditOp; 0: no more steps",
            "params": f"float32 [{batch_size}, {steps}, 24], as ldie_ext.apply_edits takes them",
        },
    )


def _noise(model: StepModel, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random pixels, words of the vocabulary, and regions of half the picture."""
    generator, side, width = torch.Generator().manual_seed(0), model.preview_size, model.max_words + 2
    images = torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    words = torch.randint(SPECIAL, len(model.vocabulary), (count, width), generator=generator)
    words[:, 0], words[:, width // 2], words[:, width // 2 + 1 :] = START, END, PAD
    regions = torch.ones(count, side, side, dtype=torch.bool)
    regions[:, :, side // 2 :] = False
    return images, words, regions


class _Comparison:
    """Says how near a file's outputs are to the model's on the same inputs."""

    def __init__(self, model: StepModel, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
        with torch.no_grad():
            self.ops, self.params = EditorGraph(model)(*inputs)

    def __call__(self, outputs: Sequence[Tensor]) -> str:
        ops, params = outputs
        if not torch.equal(ops, self.ops):
            wrong = int((ops != self.ops).any(1).sum())
            raise ExportError(f"{wrong} of {len(ops)} requests have other steps")
        distance = float((params - self.params).abs().max())
        if not distance <= TOLERANCE:
            raise ExportError(f"parameters differ by {distance:.2g}")
        return f"{int((ops > 0).sum())} steps of {len(ops)} requests the same, parameters within {distance:.1g}"
