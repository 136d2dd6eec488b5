# SPDX-License-Identifier: Apache-2.0
"""A split of a folder of MA5k-Req or GIER, whichever it is."""

from __future__ import annotations

from pathlib import Path

from ldie.errors import ConfigError, DataError
from ldie.files import is_folder
from ldie.tasks.editing.published import fivek, gier
from ldie.tasks.editing.published.fivek import FiveK
from ldie.tasks.editing.published.gier import Gier
from ldie.tasks.editing.published.pairs import is_split_there
from ldie.tasks.editing.published.plans import Plans
from ldie.tasks.editing.published.published_plans import read_published_plans


def open_published(
    root: str | Path,
    split: str,
    *,
    mode: str = "full",
    size: int | None = None,
    splits: str | Path | None = None,
    plans: str | Path | None = None,
) -> FiveK | Gier:
    """Opens a split.

    Args:
        root: The data set's folder; which it is, is seen by the files of its splits.
        split: ``train``, ``val`` or ``test``.
        mode: Of GIER; see :class:`~ldie.tasks.editing.published.gier.Gier`.
        size: See :class:`~ldie.tasks.editing.published.pairs.PublishedPairs`.
        splits: Where other files of the splits are; None: in ``root``.
        plans: A file of plans for the split's pairs, or the folder of those that were published for MA5k-Req.

    Raises:
        DataError: The folder is of neither, or a file of it cannot be used.
        ConfigError: An unknown split or mode.
    """
    root = Path(root)
    if is_split_there(fivek.split_file, root, splits):
        if mode != "full":
            raise ConfigError(f"mode must be full for MA5k-Req, whose pairs are all of one kind, got {mode!r}")
        return FiveK(root, split, size=size, splits=splits, plans=_fivek_plans(root, split, splits, plans))
    if is_split_there(gier.split_file, root, splits):
        learnt = None if plans is None else Plans.load(plans, gier.MAX_STEPS)
        return Gier(root, split, mode, size=size, splits=splits, plans=learnt)
    raise DataError(
        f"{root}: has neither {fivek.split_file(root, split, splits)} nor {gier.split_file(root, split, splits)}; give "
        "a folder of MA5k-Req or GIER"
    )


def _fivek_plans(root: Path, split: str, splits: str | Path | None, plans: str | Path | None) -> Plans | None:
    if plans is None:
        return None
    if is_folder(Path(plans)):
        return read_published_plans(plans, FiveK(root, split, splits=splits))
    return Plans.load(plans)
