# SPDX-License-Identifier: Apache-2.0
"""SynEdit's requests for pictures of one's own: photographs with COCO's annotations, for instance."""

from __future__ import annotations

from collections.abc import Iterable

from torch.utils.data import Dataset

from ldie.errors import DataError
from ldie.tasks.editing.sample import EditSample, EditSequence
from ldie.tasks.editing.synedit.draws import Draws
from ldie.tasks.editing.synedit.request_draws import RequestChoice, draw_request
from ldie.tasks.editing.synedit.request_edits import carry_out
from ldie.tasks.editing.synedit.request_plans import SPLITS
from ldie.tasks.editing.synedit.scene import Scene
from ldie.tasks.editing.synedit.synedit_pairs import check_seed
from ldie.tasks.editing.synedit.synthesis import usable_objects

_STREAM = len(SPLITS)
"""Behind those of the generated pictures."""


class PhotoRequests(Dataset[EditSample]):
    """A request for each of some pictures with its answer, in memory.

    Args:
        scenes: Names, and pictures of any size with their objects; see
            :func:`ldie.tasks.editing.synedit.coco_scenes.coco_scenes`. Objects that cover .4 % to 50 % of it are named
            by class and place, where no other one could be meant.
        choice: What may be asked for.
        split: Which phrases and combinations of operators; which pictures is for the caller to say.
        seed: Of the requests.

    Raises:
        ConfigError: No such split, operators that have no requests for it, or no seed.
        DataError: There are no pictures.

    Example:
        >>> from ldie.tasks.editing.synedit.synedit_scene import synedit_scene
        >>> data = PhotoRequests([("garden", synedit_scene(Draws(1), size=40))], split="val")
        >>> data[0].key, data[0].target.shape
        ('garden', torch.Size([3, 40, 40]))
    """

    def __init__(
        self,
        scenes: Iterable[tuple[str, Scene]],
        choice: RequestChoice | None = None,
        split: str = "train",
        seed: int = 0,
    ) -> None:
        self.choice = choice or RequestChoice()
        self.choice.check(split)
        check_seed(seed)
        self.operators = tuple(op.name for op in self.choice.operators)
        self._samples = [
            _sample(name, scene, Draws(seed, _STREAM, number, SPLITS.index(split)), self.choice, split)
            for number, (name, scene) in enumerate(scenes)
        ]
        if not self._samples:
            raise DataError("scenes: there are no pictures to ask something for; give some")
        self.origin = f"requests for {len(self)} pictures"

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> EditSample:
        """The picture's request and its answer."""
        return self._samples[index]

    def requests(self) -> list[str]:
        """All requests."""
        return [sample.request for sample in self._samples]


def _sample(name: str, scene: Scene, draws: Draws, choice: RequestChoice, split: str) -> EditSample:
    request = draw_request(draws, scene.objects, choice, split, usable_objects(scene))
    source, region = scene.image.permute(2, 0, 1).contiguous(), request.region(scene.masks)
    targets, ops, params = carry_out(source[None], [request.asks], region[None])
    return EditSample(
        key=name,
        source=source,
        request=request.text,
        target=targets[0],
        region=None if request.named < 0 else region,
        steps=EditSequence(ops[0], params[0]),
        operators=frozenset(ask.aim.op.name for ask in request.asks),
        kind=request.kind,
    )
