# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from engine.command import FAST, error_line
from ldie import __version__, systems
from ldie.cli import main
from ldie.engine import checkpoint
from PIL import Image


def test_training_says_where_everything_is(data_dir, tmp_path, capsys):
    work_dir = tmp_path / "run"
    assert main(["train", "toy", "--data", str(data_dir), "--work-dir", str(work_dir), *FAST]) == 0
    output = capsys.readouterr().out
    for path in (work_dir / "checkpoints", work_dir / "metrics.json", work_dir / "pictures"):
        assert str(path) in output and path.exists()
    assert f"=====> Save Checkpoint to {work_dir / 'checkpoints' / 'step_0000004.safetensors'}" in output


def test_options_reach_the_configuration(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("SOLVER: {LR: 0.5, CLIP: 2}\nseed: 3\n")
    arguments = [
        "train",
        "toy",
        "--config",
        str(file),
        "--seed",
        "9",
        "--data",
        "x",
        "--set",
        "solver.clip=4",
        "--set",
        "solver.lr=1",
    ]
    assert main([*arguments, "--print-config"]) == 0
    output = capsys.readouterr().out
    for line in ("lr: 1.0", "clip: 4.0", "seed: 9", "root: x", "output_dir: runs/toy"):
        assert line in output


def test_a_file_names_its_preset(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("PRESET: full\nsolver: {batch_size: 3}\n")
    command = ["train", "centernet", "--config", str(file), "--print-config"]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "batch_size: 3" in output and "max_iter: 900000" in output
    assert main([*command, "--preset", "overfit"]) == 0
    output = capsys.readouterr().out
    assert "batch_size: 3" in output and "max_iter: 400" in output
    file.write_text("preset: huge")
    assert "unknown preset 'huge'; known: tiny, overfit, full" in error_line(capsys, command)


def test_eval_writes_the_metrics_of_the_run(run_dir, capsys, tmp_path):
    assert main(["eval", str(run_dir), "--device", "cpu"]) == 0
    best, _ = checkpoint.load_weights(run_dir / "checkpoints" / "best.safetensors")
    assert json.loads((run_dir / "eval" / "metrics.json").read_text()) == pytest.approx(best.metrics)
    assert (run_dir / "eval" / "pictures" / "predictions.png").exists()
    assert "bbox/AP" in capsys.readouterr().out
    assert (
        main(["eval", str(run_dir / "checkpoints" / "best.safetensors"), "--out", str(tmp_path), "--device", "cpu"])
        == 0
    )
    assert (tmp_path / "detections.json").exists()


def test_eval_of_single_classes_says_and_writes_them(run_dir, capsys, tmp_path):
    command = ["eval", str(run_dir), "--device", "cpu", "--out", str(tmp_path)]
    assert main(command) == 0
    plain, output = json.loads((tmp_path / "metrics.json").read_text()), capsys.readouterr().out
    assert output.count("maxDets=") == len(plain) - 1 == 12 and "objects" not in output
    assert main([*command, "--per-class"]) == 0
    written, output = json.loads((tmp_path / "metrics.json").read_text()), capsys.readouterr().out
    assert written.keys() - plain.keys() == {
        f"bbox/{stat}-{color}" for stat in ("AP", "AP50", "objects") for color in ("red", "blue")
    }
    table = [line.split() for line in output.splitlines()]
    for color in ("red", "blue"):
        ap, ap50, objects = (written[f"bbox/{stat}-{color}"] for stat in ("AP", "AP50", "objects"))
        assert [f"{ap:.3f}", f"{ap50:.3f}", str(objects), color] in table


def test_predict_needs_only_the_checkpoint(run_dir, data_dir, tmp_path, capsys):
    copied = shutil.copy(run_dir / "checkpoints" / "best.safetensors", tmp_path / "alone.safetensors")
    other = tmp_path / "001.jpg"
    Image.new("L", (16, 16), 90).save(other)
    images = [str(data_dir / "val2017" / "001.png"), str(other)]
    assert main(["predict", str(copied), *images, "--out", str(tmp_path / "out"), "--min-score", "0"]) == 0
    document = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [image["file_name"] for image in document["images"]] == images
    assert document["categories"] == [{"id": 3, "name": "red"}, {"id": 7, "name": "blue"}]
    assert [annotation["image_id"] for annotation in document["annotations"]] == [1, 2]
    for name in ("001.png", "001_2.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.size == (384, 384)


def test_show_draws_the_data(data_dir, tmp_path):
    assert main(["show", "--data", str(data_dir), "--out", str(tmp_path), "--count", "3", "--split", "val2017"]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["val2017.png", "val2017_11.png", "val2017_22.png", "val2017_33.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["train", "toy", "--nope"],
        ["predict", "x"],
        ["train", "toy", "--seed", "x"],
        ["train", "toy", "--seed", "-1"],
        ["train", "toy", "--seed", str(2**63)],
        ["train", "toy", "--seed", "9" * 5000],
        ["show", "--data", "shapes", "--seed", str(10**30)],
        ["eval", "x", "--batch-size", "0"],
        ["eval", "x", "--batch-size", str(2**31)],
        ["predict", "x", "y", "--min-score", "nan"],
        ["predict", "x", "y", "--min-score", "1e999"],
        ["show", "--data", "x", "--count", str(10**30)],
        ["show", "--data", "x", "--count", "-3"],
        ["train", "toy", "--profile", "0"],
        ["train", "--profile", "toy"],
        ["benchmark", "x", "--repeats", "0"],
        ["benchmark", "x", "--size", "480"],
        ["benchmark", "x", "--size", "0x480"],
        ["benchmark", "x", "--size", "480x" + "9" * 5000],
        ["benchmark", "x", "--size", "480x640", "--images", "y"],
    ],
)
def test_bad_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    text = capsys.readouterr().err
    assert "usage: ldie" in text and len(text) < 1200


@pytest.mark.parametrize("command", ["train", "eval", "predict", "show", "import", "benchmark", "info"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "example" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "centernte"], "unknown system 'centernte'; did you mean centernet?"),
        (["train", "toy", "--preset", "huge"], "unknown preset 'huge'; known: tiny"),
        (["train", "toy", "--set", "solver.lrr=1"], "did you mean solver.lr?"),
        (["train", "toy", "--config", "{tmp}/missing.yaml"], "missing.yaml"),
        (["train", "toy", "--data", "{tmp}/nowhere"], "nowhere"),
        (["train", "toy", "--data", "{tmp}/empty"], "empty"),
        (["train", "toy", "--data", "{tmp}/bad"], "instances_train2017.json"),
        (["train", "toy", "--data", "{tmp}/truncated"], "ldie: {tmp}/truncated/train2017"),
        (
            ["train", "toy", "--data", "{tmp}/truncated", "--set", "solver.num_workers=1"],
            "ldie: {tmp}/truncated/train2017",
        ),
        (["train", "toy", "--work-dir", "{tmp}/file"], "{tmp}/file"),
        (["train", "toy", "--resume", "--work-dir", "{tmp}/empty"], "no checkpoint to resume from"),
        (["train", "toy", "--device", "quantum"], "--device must be cpu, cuda or cuda:N, got 'quantum'"),
        (["train", "toy", "--device", "cuda:99"], "--device cuda:99 cannot be used here"),
        (["eval", "{tmp}/empty"], "no checkpoint in this folder"),
        (["eval", "{tmp}/nowhere"], "no such file"),
        (["predict", "{tmp}/file", "{tmp}/photo.png"], "{tmp}/file: not a readable checkpoint"),
        (["predict", "{run}", "{tmp}/missing.png"], "{tmp}/missing.png"),
        (["predict", "{run}", "{tmp}/photo.png", "{tmp}/empty"], "{tmp}/empty"),
        (["predict", "{run}", "{tmp}/file"], "{tmp}/file"),
        (["predict", "{tmp}/null_config.safetensors", "{tmp}/photo.png"], "null_config.safetensors: not a readable"),
        (["predict", "{tmp}/few_classes.safetensors", "{tmp}/photo.png"], "few_classes.safetensors: not a readable"),
        (["predict", "{tmp}/other_keys.safetensors", "{tmp}/photo.png"], "does not fit this version of toy"),
        (["train", "toy", "--set", "solver.batch_size=0"], "solver.batch_size must be at least 1, got 0"),
        (["train", "toy", "--set", "solver.max_iter=-1"], "solver.max_iter must be at least 0, got -1"),
        (["train", "toy", "--set", "seed=-1"], "seed must be at least 0, got -1"),
        (["train", "toy", "--set", "solver.lr=nan"], "solver.lr must be float, got 'nan'"),
        (["show", "--data", "{tmp}/nowhere"], "{tmp}/nowhere: no such folder"),
        (["show", "--data", "{tmp}/file"], "{tmp}/file: no such folder"),
        (["show", "--data", "{tmp}/empty"], "instances_train2017.json: no such annotation file"),
        (["show", "--data", "{tmp}/other", "--split", "test"], "instances_test.json: no such annotation file"),
        (["show", "--data", "{tmp}/bad"], "instances_train2017.json: not valid JSON"),
        (["show", "--data", "{tmp}/truncated"], "ldie: {tmp}/truncated/train2017"),
        (["show", "--data", "{tmp}/other", "--out", "{tmp}/file"], "{tmp}/file: cannot be used as a folder"),
        (["eval", "{run}", "--data", "{tmp}/other"], "red, blue"),
        (["benchmark", "{tmp}/nowhere"], "{tmp}/nowhere: no such file"),
        (["benchmark", "{tmp}/empty"], "no checkpoint in this folder"),
        (["benchmark", "toy:huge"], "unknown preset 'huge'; known: tiny"),
        (["benchmark", "{run}", "--device", "quantum"], "--device must be cpu, cuda or cuda:N, got 'quantum'"),
        (["benchmark", "{run}", "--images", "{tmp}/missing.png"], "{tmp}/missing.png: no such image"),
        (["benchmark", "{run}", "--images", "{tmp}/empty"], "{tmp}/empty: not a readable image (a folder)"),
        (["benchmark", "{run}", "--out", "{tmp}/empty"], "--out must be a file, got the folder {tmp}/empty"),
        (["benchmark", "{run}", "--out", "{tmp}/file/x.json"], "{tmp}/file: cannot be used as a folder"),
        (
            ["benchmark", "{run}", "--images", "{tmp}/photo.png", "--out", "{tmp}/photo.png"],
            "--out must be another file than {tmp}/photo.png",
        ),
    ],
)
def test_bad_input_is_one_line_that_names_it(arguments, message, bad_inputs, run_dir, capsys, monkeypatch):
    monkeypatch.chdir(bad_inputs)
    values = {"tmp": bad_inputs, "run": run_dir}
    expected = message.format(**values)
    line = error_line(capsys, [argument.format(**values) for argument in arguments])
    assert expected in line


@pytest.fixture
def bad_inputs(data_dir, run_dir, tmp_path):
    header, weights = checkpoint.load_weights(run_dir / "checkpoints" / "best.safetensors")
    for name, changes in {
        "null_config": {"config": None},
        "few_classes": {"facts": {**header.facts, "classes": ["red"]}},
        "other_keys": {"config": {**header.config, "depth": 3}},
    }.items():
        checkpoint.save_weights(tmp_path / f"{name}.safetensors", weights, replace(header, **changes))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("just text")
    Image.new("RGB", (16, 16)).save(tmp_path / "photo.png")
    for name in ("bad", "truncated", "other"):
        shutil.copytree(data_dir, tmp_path / name)
    annotations = tmp_path / "bad" / "annotations" / "instances_train2017.json"
    annotations.write_text(annotations.read_text()[:-20])
    for image in (tmp_path / "truncated" / "train2017").iterdir():
        image.write_bytes(image.read_bytes()[:60])
    for file in (tmp_path / "other" / "annotations").iterdir():
        file.write_text(file.read_text().replace('"blue"', '"green"'))
    return tmp_path


def test_predict_writes_nothing_when_an_image_is_bad(run_dir, bad_inputs, capsys):
    out = bad_inputs / "out"
    error_line(capsys, ["predict", run_dir, bad_inputs / "photo.png", bad_inputs / "file", "--out", out])
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg"])
def test_predict_does_not_replace_an_image(name, run_dir, bad_inputs, capsys, monkeypatch):
    monkeypatch.chdir(bad_inputs)
    Image.open("photo.png").save("photo.jpg")
    before = Path("photo.png").read_bytes()
    line = error_line(capsys, ["predict", run_dir, name, "photo.png", "--out", bad_inputs / "empty" / ".."])
    assert "photo.png: is one of the images, which its picture would replace; choose another --out" in line
    assert Path("photo.png").read_bytes() == before


def test_predict_names_all_images_that_are_bad(run_dir, bad_inputs, capsys):
    missing = [bad_inputs / f"missing{i}.png" for i in range(8)]
    line = error_line(capsys, ["predict", run_dir, bad_inputs / "photo.png", *missing[:2], bad_inputs / "file"])
    assert line.startswith(f"ldie: {missing[0]}: no such image")
    assert line.endswith(f"; 2 more cannot be read: {missing[1]}, {bad_inputs / 'file'}")
    line = error_line(capsys, ["predict", run_dir, *missing])
    assert "7 more cannot be read" in line and line.endswith(f"{missing[5]}, ...")


def test_overwrite_and_resume(data_dir, tmp_path, capsys, monkeypatch):
    command = ["train", "toy", "--data", str(data_dir), "--work-dir", str(tmp_path / "run"), *FAST]
    assert main(command) == 0
    assert "holds a run already" in error_line(capsys, command)
    mistyped = ["train", "toy", "--data", str(tmp_path / "nowhere"), *command[4:], "--overwrite"]
    assert "nowhere" in error_line(capsys, mistyped)
    assert checkpoint.resumable(tmp_path / "run"), "a mistake must not cost the run that is there"
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert main([*command, "--overwrite"]) == 0
    assert (tmp_path / "run" / "notes.txt").exists()
    monkeypatch.setitem(systems.SYSTEMS, "twin", "engine.toy")
    assert "is of system toy, not twin" in error_line(capsys, ["train", "twin", *command[2:], "--resume"])
    assert main(["train", "toy", "--work-dir", str(tmp_path / "run"), "--resume", "--set", "solver.max_iter=6"]) == 0
    header, _ = checkpoint.load_weights(checkpoint.newest(tmp_path / "run"))
    assert header.step == 6 and header.config["dataset"]["root"] == str(data_dir)


def test_a_system_to_come_names_those_that_are_here(monkeypatch, capsys):
    known = {"centernet": "ldie.systems.centernet", "planned": "ldie.systems.planned", "rcnn": "ldie.systems.rcnn"}
    monkeypatch.setattr("ldie.systems.SYSTEMS", known)
    line = error_line(capsys, ["train", "planned"])
    assert line == "ldie: system 'planned' is not available in this version; use centernet or rcnn"


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="unknown system"):
        main(["train", "nothing", "--debug"])


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"ldie {__version__}\n"


def test_info(capsys):
    assert main(["info"]) == 0
    assert "torch" in capsys.readouterr().out
