# SPDX-License-Identifier: Apache-2.0
"""``ldie benchmark``: stages as a model labels them, memory, what is printed and what is written."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from engine.command import error_line
from ldie.cli import main
from ldie.commands.benchmark import stage_figures, stage_table
from ldie.engine import benchmark
from ldie.engine.benchmark import MEMORY, Measured, Stage, add_stages, measure
from ldie.engine.events import Recording
from ldie.stages import stage

CPU = torch.device("cpu")
MIB = 2**20


def product():
    return torch.ones(400, 400) @ torch.ones(400, 400)


def test_stages_are_found_and_add_up():
    """Whatever a model labels: in order, an inner stage apart from the outer one, repeated ones as one."""

    def call():
        with stage("outer"):
            product()
            with stage("inner"):
                product()
        for _ in range(2):
            with stage("last"):
                product()

    measured = measure(call, CPU, repeats=4)
    stages = measured.stages
    assert {name: round(each.calls, 6) for name, each in stages.items()} == {"outer": 1, "inner": 1, "last": 2}
    assert list(stages) == ["outer", "inner", "last"]
    assert all(each.seconds > 0 for each in stages.values())
    assert 0.8 <= sum(each.seconds for each in stages.values()) / measured.profiled_seconds <= 1.05
    assert len(measured.seconds) == 4 and min(measured.seconds) <= measured.median <= measured.p90


def test_a_call_without_stages():
    measured = measure(product, CPU, repeats=1)
    assert measured.stages == {} and measured.profiled_seconds > 0


def test_the_profiler_does_not_run_while_time_is_taken(monkeypatch):
    profiled = []
    monkeypatch.setattr(benchmark, "record", lambda call, device: profiled.append(None) or Recording(None, 1.0, []))
    calls = []
    measure(lambda: calls.append(len(profiled)), CPU, repeats=5)
    assert calls == [0] * (benchmark.WARM_UP + 5) and len(profiled) == benchmark.WARM_UP + 5


def event(name, start, duration, parent=None, kernels=()):
    kernels = [SimpleNamespace(name=kernel, duration=time) for kernel, time in kernels]
    return SimpleNamespace(
        name=name, time_range=SimpleNamespace(start=start), cpu_time_total=duration, cpu_parent=parent, kernels=kernels
    )


def test_kernels_count_for_the_stage_that_launched_them():
    """Events as of a GPU: a label has a copy of itself among its kernels, which is no kernel."""
    whole = event("call", 0, 100, kernels=[("call", 300)])
    outer = event("ldie::networks", 10, 60, whole, kernels=[("ldie::networks", 200)])
    op = event("aten::conv2d", 11, 5, outer)
    launch = event("cudaLaunchKernel", 12, 1, op, kernels=[("gemm", 90)])
    inner = event("ldie::proposals", 20, 30, outer)
    copy = event("cudaMemcpyAsync", 21, 1, inner, kernels=[("Memcpy DtoH", 7)])
    elsewhere = event("cudaLaunchKernel", 80, 1, whole, kernels=[("fill", 5)])
    stages = {}
    add_stages(stages, Recording(None, 100, [copy, inner, launch, op, elsewhere, outer, whole]), 0.5)
    seconds = {name: (each.calls, each.seconds * 1e6, each.gpu_seconds * 1e6) for name, each in stages.items()}
    assert seconds == {
        "networks": (0.5, pytest.approx(15), pytest.approx(45)),
        "proposals": (0.5, pytest.approx(15), pytest.approx(3.5)),
    }


_PEAKS = """
import torch
from ldie.engine.benchmark import measure

torch.ones(200 << 18)
for call in (lambda: torch.ones(8, 8) @ torch.ones(8, 8), lambda: torch.ones(100 << 18)):
    print(measure(call, torch.device("cpu"), repeats=1).peak_memory)
"""


def test_memory_is_that_of_the_calls_alone():
    """A peak before the first call does not count, one inside that is free again does.

    In a process of its own: of one that holds much, the system may take back what others left while it is measured.
    """
    done = subprocess.run([sys.executable, "-c", _PEAKS], capture_output=True, text=True, check=True)
    small, large = map(int, done.stdout.split())
    assert small < 50 * MIB
    assert 90 * MIB < large < 150 * MIB


def test_a_system_that_does_not_tell_its_memory(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "_RESET", tmp_path / "nowhere" / "clear_refs")
    out = tmp_path / "report.json"
    assert main(["benchmark", "toy", "--size", "16x16", "--repeats", "1", "--device", "cpu", "--out", str(out)]) == 0
    assert "peak memory  not told by this system" in capsys.readouterr().out
    assert json.loads(out.read_text())["peak_memory"]["bytes"] is None


def test_the_report(run_dir, tmp_path, capsys):
    out = tmp_path / "new" / "report.json"
    options = ["--size", "16x16", "--batch-size", "3", "--repeats", "2", "--device", "cpu", "--out", str(out)]
    assert main(["benchmark", str(run_dir), *options]) == 0
    text = capsys.readouterr().out
    report = json.loads(out.read_text())
    assert [path.name for path in out.parent.iterdir()] == ["report.json"]
    assert report.keys() == {
        "model", "system", "step", "device", "threads", "versions", "images", "batch_size", "repeats", "latency_ms",
        "images_per_second", "peak_memory", "profiled_ms", "stages", "outside_of_stages",
    }  # fmt: skip
    assert report["model"] == str(run_dir / "checkpoints" / "best.safetensors")
    assert (report["system"], report["step"]) == ("toy", 4)
    assert (report["images"], report["batch_size"], report["repeats"]) == ("16x16", 3, 2)
    assert report["device"].startswith("cpu") and report["threads"] == torch.get_num_threads()
    assert report["versions"]["torch"] == torch.__version__
    latency = report["latency_ms"]
    assert 0 < latency["min"] <= latency["median"] <= latency["p90"]
    mean = latency["median"]  # of two calls
    assert report["images_per_second"] == pytest.approx(3 / mean * 1e3)
    assert report["peak_memory"]["bytes"] >= 0 and report["peak_memory"]["of"] == MEMORY["cpu"]
    (read,) = report["stages"]  # the toy labels none, the task does
    assert read["name"] == "read" and read["calls"] == 1 and 0 < read["share"] < 1
    assert read["ms"] + report["outside_of_stages"]["ms"] == pytest.approx(report["profiled_ms"])
    assert read["share"] + report["outside_of_stages"]["share"] == pytest.approx(1)
    for line in ("toy, step 4: ", "calls: 2, batch: 3, images of 16x16", "images/s", "MiB (resident", "read  "):
        assert line in text


def test_stages_of_a_gpu_have_a_column_of_their_own():
    stages = {"networks": Stage(1, 0.003, 0.05), "results": Stage(2, 0.006, 0.001)}
    figures = stage_figures(Measured([0.01], None, stages, 0.01), on_gpu=True)
    assert stage_table(figures).splitlines() == [
        "stage                 ms      %  times  GPU ms",
        "networks            3.00   30.0      1   50.00",
        "results             6.00   60.0      2    1.00",
        "outside of stages   1.00   10.0",
        "a profiled call    10.00  100.0",
    ]


def test_images_are_read_from_files(run_dir, data_dir, tmp_path):
    out = tmp_path / "report.json"
    images = [str(data_dir / "val2017" / f"00{i}.png") for i in (1, 2)]
    command = ["benchmark", str(run_dir), "--images", *images, "--batch-size", "3", "--repeats", "1"]
    assert main([*command, "--device", "cpu", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["images"] == images and report["batch_size"] == 3


def test_nothing_is_measured_where_the_report_cannot_be_written(run_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.modules["ldie.commands.benchmark"], "measure", None)
    assert "--out must be a file" in error_line(capsys, ["benchmark", run_dir, "--out", tmp_path])
    weights = run_dir / "checkpoints" / "best.safetensors"
    before = weights.read_bytes()
    assert "which is read" in error_line(capsys, ["benchmark", weights, "--out", weights])
    assert weights.read_bytes() == before


def test_the_profiler_is_silent():
    """torch's tells stderr of its start and end unless it is told not to before its first use."""
    code = "import torch; from ldie.engine.events import record; record(lambda: None, torch.device('cpu'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
