# SPDX-License-Identifier: Apache-2.0
"""A disk without room, by a limit on the size of files: one line names the file, and none is left half written."""

import contextlib
import json
import resource
import signal

import pytest
import yaml
from engine.command import FAST, error_line
from ldie.cli import main
from ldie.engine import checkpoint, environment
from ldie.engine.lock import RunLock
from ldie.engine.log import KINDS, RunLog, read_log
from ldie.errors import CheckpointError, DataError
from ldie.files import write_text, write_whole
from ldie.tasks.detection import build_shapes
from PIL import Image
from safetensors import safe_open


@contextlib.contextmanager
def room(size):
    """No file grows beyond ``size`` bytes inside: the write that would do it fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def check_whole(folder):
    """Every file can be read to its end, and none is temporary."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        match path.suffix:
            case ".png":
                Image.open(path).load()
            case ".json":
                json.loads(path.read_bytes())
            case ".yaml":
                yaml.safe_load(path.read_text())
            case ".safetensors":
                checkpoint.load_weights(path)
            case ".pt":
                checkpoint.load_resume(path)
            case ".jsonl":
                assert len(read_log(path, KINDS)) == len(path.read_text().splitlines())
            case _:
                raise AssertionError(f"{path} should not be there")


@pytest.mark.parametrize(
    ("size", "file"),
    [(100, "config.yaml"), (4000, "step_0000004.resume.pt"), (24_000, "predictions.png|warmth.png|loss.png")],
)
def test_training(size, file, data_dir, tmp_path, capsys):
    with room(size):
        line = error_line(capsys, ["train", "toy", "--data", data_dir, "--work-dir", tmp_path / "run", *FAST])
    assert any(name in line for name in file.split("|")), line
    assert "cannot be written (File too large); free space or choose another folder" in line
    check_whole(tmp_path)
    resume = [] if size == 100 else ["--resume"] if checkpoint.resumable(tmp_path / "run") else ["--overwrite"]
    command = ["train", "toy", "--data", data_dir, "--work-dir", tmp_path / "run", *FAST, *resume]
    assert main([*map(str, command)]) == 0
    check_whole(tmp_path)


@pytest.mark.parametrize(
    ("command", "sizes"),
    [
        (["predict", "{run}", "{photo}", "--min-score", "0"], (0, 200)),
        (["eval", "{run}"], (0, 200, 2000)),
        (["show", "--data", "{data}", "--count", "2"], (0, 200)),
        (["show", "--data", "shapes", "--count", "2"], (0, 200)),
    ],
)
def test_other_commands(command, sizes, run_dir, data_dir, tmp_path, capsys):
    values = {"run": run_dir, "photo": data_dir / "val2017" / "001.png", "data": data_dir}
    arguments = [argument.format(**values) for argument in command]
    for size in sizes:
        with room(size):
            line = error_line(capsys, [*arguments, "--out", tmp_path / "out"])
        assert line.startswith(f"ldie: {tmp_path / 'out'}/") and "File too large); free space" in line
        check_whole(tmp_path)


def test_an_old_file_stays_where_the_new_one_has_no_room(tmp_path):
    path = tmp_path / "metrics.json"
    write_text(path, "{}")
    with room(100), pytest.raises(CheckpointError, match=r"metrics\.json: cannot be written \(File too large\)"):
        write_text(path, "x" * 200)
    assert path.read_text() == "{}" and list(tmp_path.iterdir()) == [path]


def test_generated_data_appears_whole_or_not_at_all(tmp_path):
    with room(2000), pytest.raises(DataError, match=r"shapes: cannot be generated .*; free space"):
        build_shapes(tmp_path / "shapes", train=2, val=1)
    assert not list(tmp_path.iterdir())


def test_a_log_that_is_full_says_so_once(tmp_path):
    log = RunLog(tmp_path)
    with room(60):
        log.write("train", 1, {"loss": 1.0})
        with pytest.raises(CheckpointError, match=r"log\.jsonl: cannot be written \(File too large\); free space"):
            log.write("train", 2, {"loss": 1.0})
        log.close()
    assert [record["step"] for record in read_log(tmp_path / "log.jsonl")] == [1]


def test_a_lock_without_room(tmp_path):
    with room(0), pytest.raises(CheckpointError, match=r"\.lock: cannot be written and locked \(File too large\)"):
        RunLock(tmp_path)
    assert not list(tmp_path.iterdir())
    RunLock(tmp_path).release()


def test_a_file_name_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("n" * 251 + ".png")
    write_whole(path, lambda temporary: temporary.write_text("all"))
    assert path.read_text() == "all"


def test_weights_that_have_no_room_leave_the_older_ones(run_dir, tmp_path):
    newest = checkpoint.newest(run_dir)
    header, weights = checkpoint.load_weights(newest)
    path = tmp_path / newest.name
    checkpoint.save_weights(path, weights, header)
    with room(500), pytest.raises(CheckpointError, match="cannot be written"):
        checkpoint.save_weights(path, weights, header)
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(weights)


def test_the_command_of_a_run_is_one_line_of_its_configuration(monkeypatch):
    monkeypatch.setattr("sys.orig_argv", ["ldie", "train", "a\nb", "caf\xe9", "\udce9"])
    assert environment.command() == r"ldie train 'a\nb' 'café' '\udce9'"
