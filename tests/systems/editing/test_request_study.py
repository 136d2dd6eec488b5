# SPDX-License-Identifier: Apache-2.0
"""The study of what the editor learns: its settings are configurations, its tables have what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from ldie.cli import main
from ldie.tasks.editing.synedit.syn_requests import SynRequests, SynRequestsConfig

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_settings_are_configurations() -> None:
    from editing.request_study import SETTINGS

    for setting in SETTINGS.values():
        options = [option.format(work="work") for option in setting.options]
        command = ["train", setting.system, "--preset", setting.preset, "--print-config"]
        assert main([*command, *(["--set", *options] if options else [])]) == 0


def test_what_learns_nothing_is_measured(tmp_path: Path) -> None:
    from editing.request_study import identity, measured, predict_by_rules, reward_table, table

    data = SynRequests(tmp_path, SynRequestsConfig(val=8), "val")
    samples = [data[i] for i in range(len(data))]
    rows = {
        "identity": {"random": [measured(identity, samples)]},
        "rules": {"random": [measured(lambda inputs: predict_by_rules(inputs, data.operators), samples)] * 3},
    }
    assert rows["identity"]["random"][0]["actor/l1"] == rows["identity"]["random"][0]["actor/l1_input"]
    text = table(rows)
    assert "| identity | 1 | 0 | 0 |" in text and "| rules | 3 |" in text and " to " in text
    assert "| seed 0 | 0 | 1 | 2 |" in reward_table({"seed 0": [0.0, 1.0, 2.0]})
