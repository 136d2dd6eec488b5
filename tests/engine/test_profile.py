# SPDX-License-Identifier: Apache-2.0
"""``ldie train --profile``: what the table says of a step, and that training is the same."""

import re
from types import SimpleNamespace

import pytest
import torch
from engine.toy import ToyRecipe
from ldie.cli import main
from ldie.engine import checkpoint, profile
from ldie.engine.events import Recording
from ldie.engine.log import read_log
from ldie.engine.profile import DATA, OPTIMIZERS, OTHERS, OURS, PRODUCTS, REST, WARM_UP, StepProfile

CPU = torch.device("cpu")


def train(data_dir, work_dir, *options, steps=8):
    settings = ["--set", f"solver.max_iter={steps}", "solver.eval_step=1"]
    command = ["train", "toy", "--data", str(data_dir), "--work-dir", str(work_dir), "--device", "cpu"]
    assert main([*command, *options, *settings]) == 0


def cells(text):
    """The numbers in the rows of the table by name."""
    rows = {}
    for line in text[text.index("ms/step") :].splitlines()[1:]:
        name, *numbers = re.split(r"\s{2,}", line.strip())
        rows[name] = [float(number) for number in numbers]
        if name == REST:
            return rows
    raise AssertionError("the table does not end")


def test_the_table_of_a_run(data_dir, tmp_path, capsys):
    """Two steps, between which there are evaluations; only the second has both optimizers."""
    train(data_dir, tmp_path / "run", "--profile", "2")
    text = capsys.readouterr().out
    assert re.search(r"^profiled steps: 2; [\d.]+ ms each, [\d.]+ ms without the profiler$", text, re.MULTILINE)
    rows = cells(text)
    groups = (OURS, PRODUCTS, OTHERS, OPTIMIZERS, DATA, REST)
    assert [name for name in rows if name in groups] == list(groups)
    calls = {name: numbers[2] for name, numbers in rows.items() if name != REST}
    assert calls["aten::conv2d"] == 1, "not those of the evaluations"
    assert (calls["aten::convolution_backward"], calls["aten::linear"]) == (1, 2)
    assert (calls["Adam.step"], calls["SGD.step"], calls[DATA], calls[OURS]) == (1, 0.5, 1, 0)
    assert sum(rows[name][1] for name in groups) == pytest.approx(100, abs=0.5)
    assert all(number >= 0 for numbers in rows.values() for number in numbers)


def test_training_is_the_same(data_dir, tmp_path):
    found = []
    for name, options in (("plain", ()), ("profiled", ("--profile", "2"))):
        train(data_dir, tmp_path / name, *options)
        _, weights = checkpoint.load_weights(checkpoint.newest(tmp_path / name))
        state = checkpoint.load_resume(checkpoint.resume_path(checkpoint.newest(tmp_path / name)))
        losses = [{key: r[key] for key in r if "loss" in key} for r in read_log(tmp_path / name / "log.jsonl")]
        found.append((weights, state["optimizers"], state["random"], losses))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert any(found[0][3])


def test_without_it_no_step_is_touched(data_dir, tmp_path, monkeypatch):
    for name in ("record", "synchronize"):
        monkeypatch.setattr(profile, name, None)
    train(data_dir, tmp_path / "run")


@pytest.mark.parametrize(("steps", "profiled"), [(2, 0), (WARM_UP, 0), (WARM_UP + 1, 1)])
def test_a_run_that_is_too_short_says_so(data_dir, tmp_path, capsys, steps, profiled):
    train(data_dir, tmp_path / "run", "--profile", "3", steps=steps)
    text = " ".join(capsys.readouterr().out.split())
    expected = (
        f"--profile: the run ended {steps} steps later, too early to profile 3 after {WARM_UP} of warm-up; "
        "raise solver.max_iter or give --profile a smaller number"
    )
    assert expected in text
    assert ("profiled steps" in text) == bool(profiled)
    if profiled:
        assert "profiled steps: 1; " in text


def test_an_error_in_a_profiled_step_stays_what_it_is(data_dir, tmp_path, capsys, monkeypatch):
    original = ToyRecipe.train_step

    def train_step(self, batch, step):
        if step == WARM_UP:
            raise MemoryError("no room")
        return original(self, batch, step)

    monkeypatch.setattr(ToyRecipe, "train_step", train_step)
    command = ["train", "toy", "--data", str(data_dir), "--work-dir", str(tmp_path), "--device", "cpu", "--profile"]
    assert main(command) == 1
    output = capsys.readouterr()
    assert output.err == "ldie: out of memory (no room); lower the batch size or the image size\n"
    assert "profiled steps" not in output.out and "--profile:" not in output.out
    assert not torch._C._autograd._profiler_enabled()


def event(name, duration, *children, kernels=()):
    kernels = [SimpleNamespace(name=kernel, duration=time) for kernel, time in kernels]
    made = SimpleNamespace(
        name=name, cpu_time_total=duration, cpu_parent=None, cpu_children=list(children), kernels=kernels
    )
    for child in children:
        child.cpu_parent = made
    return made


def tree(root):
    return [root, *(each for child in root.cpu_children for each in tree(child))]


def test_an_operator_has_what_is_inside_it_once():
    """Events as of a GPU, whose backward runs in a thread of its own."""
    step = event(
        "recorded call",
        1000,
        event("enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__", 100, event("aten::stack", 90)),
        event("aten::conv2d", 50, event("aten::cudnn_convolution", 40, kernels=[("gemm", 700)])),
        event("ldie_ext::multiscale_roi_align", 30, event("aten::empty", 5), kernels=[("roi_align", 60)]),
        event("ldie::networks", 20, event("aten::add", 15, kernels=[("add", 9)])),
        event("Optimizer.step#AdamW.step", 200, event("aten::_foreach_add_", 150, kernels=[("multi_tensor", 80)])),
        event("cudaDeviceSynchronize", 300),
        event("Memset (Device)", 1, kernels=[("Memset", 4)]),
    )
    backward = event(
        "autograd::engine::evaluate_function: RoiAlignBackward",
        40,
        event("RoiAlignBackward", 35, event("ldie_ext::multiscale_roi_align_backward", 30, kernels=[("scatter", 90)])),
    )
    found = StepProfile(1, torch.device("cuda"))
    found.add(1000, [*tree(step), *tree(backward)])
    shares = {
        (group, name): (share.calls, share.host, share.gpu)
        for group, operators in found.shares.items()
        for name, share in operators.items()
    }
    assert shares == {
        (DATA, "DataLoader"): (1, 100, 0),
        (PRODUCTS, "aten::conv2d"): (1, 50, 700),
        (OURS, "multiscale_roi_align"): (1, 30, 60),
        (OURS, "multiscale_roi_align_backward"): (1, 30, 90),
        (OTHERS, "aten::add"): (1, 15, 9),
        (OPTIMIZERS, "AdamW.step"): (1, 200, 80),
    }
    assert (found.rest.host, found.rest.gpu) == (1000 - 425, 4)


def test_on_a_gpu_rows_are_in_the_order_of_its_time(monkeypatch, caplog):
    """What the GPU takes long for may be launched quickly."""
    events = tree(
        event(
            "recorded call",
            1000,
            event("ldie_ext::nms", 100, kernels=[("nms", 10)]),
            event("ldie_ext::roi_align", 50, kernels=[("roi_align", 500)]),
        )
    )
    monkeypatch.setattr(profile, "record", lambda step, device: Recording(step(), 1000.0, events))
    monkeypatch.setattr(profile, "synchronize", lambda device: None)
    found = StepProfile(2, torch.device("cuda"))
    with caplog.at_level("INFO", "ldie"):
        assert [found.run(lambda i=i: i) for i in range(WARM_UP + 4)] == list(range(WARM_UP + 4))
    lines = [line.split() for line in caplog.messages[0].splitlines()]
    assert lines[1] == ["ms/step", "%", "calls/step", "GPU", "ms/step"]
    assert lines[2:5] == [
        ["ldie_ext", "operators", "0.15", "15.0", "2", "0.51"],
        ["roi_align", "0.05", "5.0", "1", "0.50"],
        ["nms", "0.10", "10.0", "1", "0.01"],
    ]
    assert len(caplog.messages) == 1
