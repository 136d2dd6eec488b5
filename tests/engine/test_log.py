# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from ldie.engine.log import Meter, RunLog, configure_console, logger, progress_bar, read_log
from ldie.errors import TrainingError


def test_means_over_the_steps_that_had_a_term():
    meter = Meter()
    meter.add(1, {"a": torch.tensor(1.0), "b": torch.tensor(4.0)})
    meter.add(2, {"a": torch.tensor(2.0, dtype=torch.float64)})
    assert meter.pop_means() == {"a": 1.5, "b": 4.0}
    assert meter.pop_means() == {}


def test_state_round_trip_is_exact():
    meter, other = Meter(), Meter()
    for step in range(3):
        meter.add(step, {"a": torch.rand(()), "b": torch.rand(())})
    other.load_state_dict(meter.state_dict())
    assert other.pop_means() == meter.pop_means()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_term_is_named_with_its_step(value):
    meter = Meter()
    meter.add(7, {"good": torch.tensor(1.0), "hm_loss:0": torch.tensor(1.0)})
    meter.add(8, {"good": torch.tensor(1.0), "hm_loss:0": torch.tensor(value)})
    meter.add(9, {"good": torch.tensor(value), "hm_loss:0": torch.tensor(value)})
    with pytest.raises(TrainingError, match=f"hm_loss:0 is {value} at step 8"):
        meter.pop_means()


def test_records_after_the_resumed_step_are_dropped(tmp_path):
    log = RunLog(tmp_path)
    for step in (10, 20, 30):
        log.write("train", step, {"loss": float(step)}, seconds=1.0)
    log.close()
    path = tmp_path / "log.jsonl"
    path.write_text(path.read_text() + '{"kind": "train", "st')
    log = RunLog(tmp_path, resume_step=20)
    log.write("eval", 20, {"bbox/AP": float("nan")})
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"kind": "train", "step": 10, "seconds": 1.0, "loss": 10.0},
        {"kind": "train", "step": 20, "seconds": 1.0, "loss": 20.0},
        {"kind": "eval", "step": 20, "bbox/AP": None},
    ]
    RunLog(tmp_path).close()
    assert read_log(path) == []


@pytest.mark.parametrize(
    "line", [b"\0\0\0", b"\xff", b"[]", b'{"step": 2}', b'{"kind": "other", "step": 2}', b"[" * 9999]
)
def test_what_follows_a_damaged_line_is_left_out(tmp_path, line):
    path = tmp_path / "log.jsonl"
    whole = b'{"kind": "train", "step": 1}'
    path.write_bytes(b"\n".join([whole, line, whole]))
    assert read_log(path) == [{"kind": "train", "step": 1}]
    RunLog(tmp_path, resume_step=1).close()
    assert path.read_bytes() == whole + b"\n"


def test_console_goes_to_stdout_and_the_bar_is_silent_without_a_terminal(capsys):
    configure_console()
    with progress_bar(3, 1, "toy") as bar:
        bar.update()
        logger.info("line %d", 1)
        logger.debug("hidden")
    captured = capsys.readouterr()
    assert captured.out == "line 1\n"
    assert captured.err == ""
