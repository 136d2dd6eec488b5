# SPDX-License-Identifier: Apache-2.0
"""Options, configurations and files that nobody should give: each ends in one line that names what is wrong."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import ldie
import numpy as np
import pytest
import torch
from engine.command import FAST, error_line
from ldie.cli import main
from ldie.config import RunConfig, override
from ldie.engine import checkpoint
from ldie.errors import CheckpointError, ConfigError
from ldie.weights import read_weights
from safetensors.torch import save as serialize

LONG = "n" * 5000
PRINT = ["train", "toy", "--print-config"]


def bomb(levels=9):
    """Aliases that each repeat the one before nine times."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "name",
    ["meta", "mps", "xpu", "hpu", "mkldnn", "privateuseone", "cpu:3", "cuda:-1", "cuda:1000", "", LONG, "cu\nda"],
)
def test_other_devices_are_refused(name, run_dir, capsys):
    for command in (["train", "toy"], ["eval", run_dir], ["predict", run_dir, "photo.png"]):
        assert "--device must be cpu, cuda or cuda:N, got" in error_line(capsys, [*command, "--device", name])
    with pytest.raises(ConfigError, match="must be cpu, cuda or cuda:N"):
        ldie.load(run_dir, name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:99"])
def test_a_gpu_that_is_not_here_is_refused(name, run_dir, capsys):
    line = error_line(capsys, ["predict", run_dir, "photo.png", "--device", name])
    assert f"--device {name} cannot be used here (" in line and line.endswith("use cpu, or see ldie info")
    with pytest.raises(ConfigError, match="cannot be used here"):
        ldie.load(run_dir, name)


@pytest.mark.parametrize("seed", ["-1", str(2**63), str(2**64), str(10**30), "1e300", "1.5", "nan", "null", "9" * 5000])
def test_absurd_seeds_are_refused(seed, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text(f"seed: {seed}\n")
    for given in (["--set", f"seed={seed}"], ["--config", file]):
        line = error_line(capsys, [*PRINT, *given])
        assert "seed" in line or "4300 digits" in line


def test_the_largest_seed_trains(data_dir, tmp_path):
    command = ["train", "toy", "--data", data_dir, "--work-dir", tmp_path, *FAST, "solver.max_iter=1"]
    assert main([*map(str, command), "--seed", str(2**63 - 1)]) == 0


@pytest.mark.parametrize("key", ["solver.batch_size", "solver.max_iter", "solver.num_workers", "solver.log_step"])
def test_absurd_counts_are_refused(key, capsys):
    assert f"{key} must be at most" in error_line(capsys, [*PRINT, "--set", f"{key}={10**30}"])


YAML = {
    "deep list": ("seed: " + "[" * 50_000, "nested more than 20 deep"),
    "deep mapping": ("{a: " * 3000, "nested more than 20 deep"),
    "deep block": ("".join(" " * i + "a:\n" for i in range(300)), "nested more than 20 deep"),
    "deep dashes": ("- " * 5000 + "1", "nested more than 20 deep"),
    "bomb": (bomb(), "more than 10000 values"),
    "bomb for a key": (bomb().replace("a8:", "seed:"), "more than 10000 values"),
    "list in itself": ("solver: &a [*a]", "a contains itself"),
    "mapping in itself": ("&a {solver: {lr: *a}}", "a contains itself"),
    "no such anchor": ("seed: *x", "undefined alias 'x'"),
    "code": ("seed: !!python/object/apply:os.getpid []", "could not determine a constructor"),
    "other tag": ("seed: !mine 3", "could not determine a constructor"),
    "tag and value": ("seed: !!timestamp soon", "a value does not fit its type"),
    "no such date": ("seed: 2020-13-45", "a value does not fit its type"),
    "date": ("seed: 2020-01-01", "seed must be int, got '2020-01-01'"),
    "thousands of digits": ("seed: " + "9" * 5000, "a value does not fit its type"),
    "thousands of hexadecimal digits": ("seed: 0x" + "f" * 5000, "seed must be a number below"),
    "same key": ("seed: 1\nseed: 2", "at line 2 (seed is given twice)"),
    "same key in a section": ("solver:\n  lr: 1\n  lr: 2", "at line 3 (lr is given twice)"),
    "same key in other case": ("seed: 1\nSEED: 2", "seed is given twice"),
    "tab": ("solver:\n\tlr: 1", "at line 2"),
    "two documents": ("seed: 1\n---\nseed: 2", "another document"),
    "list for a section": ("solver: [1, 2]", "solver is a section"),
    "nothing for a section": ("solver:", "solver is a section"),
    "list for all": ("- 1", "expected a mapping"),
    "list for a key": ("? [1, 2]\n: 3", "unhashable key"),
    "long key": (f"? {LONG}\n: 3", "unknown configuration key nnn"),
    "long value": (f"seed: {LONG}", "seed must be int, got 'nnn"),
    "terminal codes in a key": ('"\\e[31m": 1', r"unknown configuration key \x1b[31m"),
    "NUL in a name": (r'output_dir: "a\0b"', "output_dir must be without NUL characters"),
    "half a character": (r'output_dir: "\uD800"', "not valid Unicode"),
    "preset of a list": ("preset: [1]", "unknown preset '[1]'"),
    "binary": (bytes(range(256)), "not valid YAML"),
    "Latin-1": ("output_dir: caf\xe9".encode("latin-1"), "not valid YAML"),
    "UTF-32": ("seed: 3".encode("utf-32"), "not valid YAML"),
    "large": (b"# \n" * 40_000, "larger than 100 kB"),
}


@pytest.mark.parametrize("kind", YAML)
def test_hostile_yaml_is_refused(kind, tmp_path, capsys):
    content, expected = YAML[kind]
    file = tmp_path / "mine.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert expected in error_line(capsys, [*PRINT, "--config", file])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_usual_encodings_of_yaml_are_read(encoding, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_bytes("output_dir: caf\xe9\nsolver: &s {log_step: 7}".encode(encoding))
    assert main([*PRINT, "--config", str(file)]) == 0
    assert "log_step: 7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [(LONG, "File name too long"), (".", "Is a directory"), ("/dev/zero", "larger than"), ("a\0b", "null byte")],
)
def test_yaml_files_that_are_none(name, expected, capsys):
    assert expected in error_line(capsys, [*PRINT, "--config", name])


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("seed=" + "[" * 50_000, "nested more than 20 deep"),
        ("solver=&a {lr: *a}", "a contains itself"),
        ("solver={lr: 1, lr: 2}", "lr is given twice"),
        ("seed=!!python/object/apply:os.getpid []", "could not determine a constructor"),
        ("seed=2020-13-45", "a value does not fit its type"),
        ("seed=!!float abc", "a value does not fit its type"),
        ("seed=1\tx", r"'1\tx' is not a YAML value"),
        ("=3", "expected key=value"),
        (f"{LONG}=3", "unknown configuration key nnn"),
        (".".join(["a"] * 5000) + "=3", "unknown configuration key a.a.a"),
        ("solver=[1]", "solver is a section"),
        ("output_dir=a\0b", "output_dir must be without NUL"),
        ("output_dir=\ud800", "not valid Unicode"),
    ],
)
def test_hostile_assignments_are_refused(assignment, expected, capsys):
    assert expected in error_line(capsys, [*PRINT, "--set", assignment])


@pytest.mark.parametrize("name", [LONG, "x/" * 3000, "a\0b"])
def test_names_that_no_file_can_have(name, run_dir, data_dir, tmp_path, capsys):
    train = ["train", "toy", "--data", data_dir, *FAST]
    photo = data_dir / "val2017" / "001.png"
    for command in (
        ["train", name],
        ["train", "toy", "--preset", name],
        ["train", "toy", "--data", name, "--work-dir", tmp_path],
        [*train, "--work-dir", f"{tmp_path}/{name}"],
        [*train, "--work-dir", f"{tmp_path}/{name}", "--resume"],
        [*train, "--work-dir", tmp_path / "w", "--set", f"dataset.train={name}"],
        ["eval", name],
        ["eval", run_dir, "--data", name],
        ["eval", run_dir, "--out", f"{tmp_path}/{name}"],
        ["predict", name, photo],
        ["predict", run_dir, photo, "--out", f"{tmp_path}/{name}"],
        ["predict", run_dir, name, "--out", tmp_path / "p"],
        ["show", "--data", name, "--out", tmp_path / "s"],
        ["show", "--data", data_dir, "--split", name, "--out", tmp_path / "s"],
        ["show", "--data", "shapes", "--out", f"{tmp_path}/{name}"],
        ["show", "--data", data_dir, "--task", name],
    ):
        assert len(error_line(capsys, command)) < 700
    with pytest.raises(CheckpointError):
        ldie.load(name)


@pytest.mark.parametrize("name", [LONG, "x/" * 3000, "a\0b", "\ud800", "\x1b[31mred\n", ""])
def test_image_names_that_no_file_can_have(name, run_dir, data_dir, tmp_path, capsys):
    data = Path(shutil.copytree(data_dir, tmp_path / "data"))
    for split in ("train2017", "val2017"):
        file = data / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        content["images"][0]["file_name"] = name
        file.write_text(json.dumps(content))
    for command in (
        ["train", "toy", "--data", data, "--work-dir", tmp_path / "run", *FAST],
        ["eval", run_dir, "--data", data, "--out", tmp_path / "eval"],
        ["show", "--data", data, "--out", tmp_path / "show"],
    ):
        assert str(data) in error_line(capsys, command)


@pytest.mark.parametrize("name", [LONG, "a\0b", "\ud800", "\x1b[31mred\n"])
def test_class_names_may_be_anything(name, data_dir, tmp_path):
    data = Path(shutil.copytree(data_dir, tmp_path / "data"))
    for split in ("train2017", "val2017"):
        file = data / "annotations" / f"instances_{split}.json"
        file.write_text(file.read_text().replace('"blue"', json.dumps(name)))
    photo, run = str(data / "val2017" / "001.png"), str(tmp_path / "run")
    assert main(["train", "toy", "--data", str(data), "--work-dir", run, *FAST]) == 0
    assert main(["predict", run, photo, "--out", str(tmp_path / "out"), "--min-score", "0"]) == 0
    categories = json.loads((tmp_path / "out" / "predictions.json").read_text())["categories"]
    assert [category["name"] for category in categories] == ["red", name]


FOREIGN = {
    "empty": (b"", "empty"),
    "pickle": (pickle.dumps({"a": np.zeros(3)}), "a pickle"),
    "web page": (b"\n<!DOCTYPE html><html>404</html>", "a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "gzip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
    "JSON": (b'{"a": 1}', "a text file"),
    "text": (b"hello", "not a readable checkpoint ("),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_that_are_no_checkpoint_are_named(kind, tmp_path, capsys):
    content, expected = FOREIGN[kind]
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    line = error_line(capsys, ["eval", file])
    assert line.startswith(f"ldie: {file}: not a readable checkpoint (") and expected in line
    with pytest.raises(CheckpointError, match=r"no readable weights|holds no named tensors"):
        read_weights(file)


def test_a_header_of_thousands_of_levels(tmp_path, capsys):
    file, text = tmp_path / "deep.safetensors", "[" * 100_000
    file.write_bytes(serialize({}, {"ldie": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}))
    assert f"{file}: not a readable checkpoint (maximum recursion depth" in error_line(capsys, ["eval", file])


class Thing:
    """What a checkpoint of a training script may hold."""


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_advice_to_run_the_code_in_a_file_is_not_passed_on(legacy, run_dir, tmp_path, capsys):
    file = tmp_path / "model.pth"
    torch.save({"model": Thing()}, file, _use_new_zipfile_serialization=not legacy)
    assert ("a pickle" if legacy else "a zip archive, as torch.save writes") in error_line(capsys, ["eval", file])
    with pytest.raises(CheckpointError) as caught:
        read_weights(file)
    assert "Python objects besides tensors" in str(caught.value) and "weights_only" not in str(caught.value)
    run = shutil.copytree(run_dir, tmp_path / "run")
    shutil.copy(file, checkpoint.resume_path(checkpoint.newest(run)))
    line = error_line(capsys, ["train", "toy", "--resume", "--work-dir", run, "--device", "cpu"])
    assert "not a readable resume state" in line and "weights_only" not in line


def test_a_damaged_checkpoint_names_one_that_is_whole(run_dir, data_dir, tmp_path, capsys):
    photo = data_dir / "val2017" / "001.png"
    run = shutil.copytree(run_dir, tmp_path / "run")
    best, newest = run / "checkpoints" / "best.safetensors", checkpoint.newest(run)
    best.write_bytes(best.read_bytes()[:-9])
    for command in (["eval", run], ["predict", run, photo]):
        line = error_line(capsys, command)
        assert f"{best}: not a readable checkpoint" in line and line.endswith(f"; {newest} is whole, give that")
    with pytest.raises(CheckpointError, match=f"{newest.name} is whole"):
        ldie.load(run)
    assert main(["predict", str(newest), str(photo), "--out", str(tmp_path / "out")]) == 0
    newest.write_bytes(b"")
    assert error_line(capsys, ["eval", run]).endswith("train again or give another")


@pytest.mark.parametrize("place", ["file", "file/inside", "dangling", "/dev/null", "/proc/nothing"])
def test_folders_that_are_none(place, run_dir, data_dir, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    folder, photo = tmp_path / place, data_dir / "val2017" / "001.png"
    for command in (
        ["train", "toy", "--data", data_dir, "--work-dir", folder, *FAST],
        ["train", "toy", "--data", "shapes", "--work-dir", folder, *FAST],
        ["train", "toy", "--resume", "--work-dir", folder],
        ["eval", run_dir, "--out", folder],
        ["predict", run_dir, photo, "--out", folder],
        ["show", "--data", data_dir, "--out", folder],
    ):
        assert str(folder) in error_line(capsys, command)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_work_folder_that_can_hold_no_checkpoints_is_refused_before_the_first_step(data_dir, tmp_path, capsys):
    (tmp_path / "checkpoints").write_text("mine")
    line = error_line(capsys, ["train", "toy", "--data", data_dir, "--work-dir", tmp_path, *FAST])
    assert line.startswith(f"ldie: {tmp_path / 'checkpoints'}: cannot be used as a folder")
    assert not (tmp_path / "log.jsonl").exists()


def test_override_of_thousands_of_levels_is_an_unknown_key():
    with pytest.raises(ConfigError, match="unknown configuration key"):
        override(RunConfig(), [".".join(["solver"] * 5000) + "=1"])
