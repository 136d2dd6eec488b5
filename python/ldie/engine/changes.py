# SPDX-License-Identifier: Apache-2.0
"""What may change where a run goes on: what takes effect from then on, and breaks nothing of what came before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ldie.config import RunConfig, merge, to_dict
from ldie.contract import Facts
from ldie.engine.checkpoint import Header
from ldie.errors import CheckpointError, ConfigError

FIXED = ("model", "dataset", "seed", "solver.batch_size", "solver.accumulate")
"""Keys and sections that decide the networks, or which samples were seen already; recipes add their own."""
FREE = ("dataset.root",)
"""Inside of those: the data may have moved, and is then compared."""


def check_changes(header: Header, given: RunConfig, config: RunConfig, fixed: Sequence[str]) -> None:
    """Compares the configuration of a run with the one that it is to go on with.

    What only the facts of other data change is left to :func:`check_data`: nobody has set it.

    Args:
        header: Of the run's checkpoint.
        given: To go on with.
        config: The same, completed by the facts of the data.
        fixed: What the recipe adds to :data:`FIXED`.

    Raises:
        CheckpointError: The run was made by another version.
        ConfigError: Something changes that cannot; the message names the key.
    """
    try:
        before = dict(_values(to_dict(merge(config, header.config))))
    except ConfigError as error:
        raise CheckpointError(f"the run's configuration does not fit this version ({error}); train again") from error
    asked = dict(_values(to_dict(given)))
    for key, value in _values(to_dict(config)):
        changes = before.get(key) not in (value, asked.get(key))
        if changes and _inside(key, (*FIXED, *fixed)) and not _inside(key, FREE):
            raise ConfigError(
                f"{key} cannot change where a run goes on: it has {before.get(key)!r}, got {value!r}; "
                "leave it out, or train anew in another --work-dir"
            )


def check_data(header: Header, facts: Facts, before: int, samples: int, root: str) -> None:
    """Checks that data is that of a run.

    Args:
        header: Of the run's checkpoint.
        facts: Of the data.
        before: Samples that the run trains on.
        samples: Samples of the data.
        root: The data's name.

    Raises:
        CheckpointError: It is not.
    """
    now = json.loads(json.dumps(dict(facts)))
    different = [name for name in header.facts if header.facts[name] != now.get(name)]
    if different or before != samples:
        what = f"other {', '.join(different)}" if different else f"{samples} instead of {before} samples"
        raise CheckpointError(
            f"dataset.root: {root} is not the data of this run ({what}); give that, or train anew in another --work-dir"
        )


def _values(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _values(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _inside(key: str, sections: Sequence[str]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)
