# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ldie.engine import checkpoint, distributed
from ldie.engine.log import read_log

SCRIPT = Path(__file__).with_name("two_ranks.py")


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """The folder of the two runs and what each rank reported."""
    out = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(SCRIPT)]
    done = subprocess.run(
        [*command, str(data_dir), str(out)], env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out, [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_ranks_train_on_different_data_and_stay_equal(run):
    _, ranks = run
    assert ranks[0]["ranks"] == [0, 1]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert all(a != b for a, b in zip(ranks[0]["losses"], ranks[1]["losses"]))


def test_gradients_are_means_and_missing_ones_count_as_zero(run):
    for rank in run[1]:
        assert rank["gradients"] == [[1.5, 3.0], [2.0, 3.0], [2.0, 3.0], None]


def test_gradients_travel_in_buckets_and_nobody_waits(run):
    assert all(rank["buckets"] for rank in run[1])


def test_one_log_with_means_over_ranks(run):
    out, ranks = run
    records = [record for record in read_log(out / "straight" / "log.jsonl") if record["kind"] == "train"]
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    for i, record in enumerate(records):
        both = [value for rank in ranks for value in rank["losses"][2 * i : 2 * i + 2]]
        assert record["box_loss"] == pytest.approx(sum(both) / 4, rel=1e-6)


def test_evaluation_is_gathered(run):
    out, ranks = run
    written = json.loads((out / "straight" / "metrics.json").read_text())
    assert ranks[0]["metrics"] == ranks[1]["metrics"] == written
    detections = json.loads((out / "straight" / "detections.json").read_text())
    assert [record["image_id"] for record in detections] == [11, 22, 33, 44, 55]


def test_resume_is_exact_on_two_ranks(run):
    out, ranks = run
    assert [rank["resumed_weights"] for rank in ranks] == [rank["weights"] for rank in ranks]
    (_, a), (_, b) = (checkpoint.load_weights(checkpoint.newest(out / name)) for name in ("straight", "resumed"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="names of threads are read from /proc")
def test_no_thread_outlives_the_process_group(run):
    """One that meets the end of the interpreter with a tensor in its hands aborts the process."""
    for rank in run[1]:
        assert any("gloo" in name for name in rank["threads"]["during"])
        assert not any("gloo" in name for name in rank["threads"]["after"])


def test_views_are_gathered_without_the_memory_they_look_at(monkeypatch):
    sent = []

    def all_gather_object(items, item):
        sent.append(item)
        items[:] = [item] * len(items)

    monkeypatch.setattr(distributed.dist, "all_gather_object", all_gather_object)
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_world_size", lambda: 2)
    whole = torch.randn(1000, 100)
    views = {"row": whole[3], "column": whole[:, 3], "one": whole[5, 5], "none": whole[:0]}
    others = {
        "bfloat16": whole[0].bfloat16(),
        "gradient": torch.ones(2, requires_grad=True),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "bytes": torch.get_rng_state(),
        "text": ["a", 1],
    }
    for part in distributed.gather(views | others):
        assert part.keys() == views.keys() | others.keys() and part["text"] == others["text"]
        for name, tensor in (views | others).items():
            if name != "text":
                assert torch.equal(part[name], tensor) and part[name].dtype == tensor.dtype
                assert type(part[name]) is type(tensor) and part[name].requires_grad == tensor.requires_grad
        part["row"] += 1  # they are as good as others
    assert len(sent) == 1 and len(sent[0]) < 20_000


@pytest.mark.parametrize(("name", "index"), [("cuda", 3), ("cuda:1", 1)])
def test_cuda_without_an_index_is_the_ranks_own(name, index, monkeypatch):
    chosen = []
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch, "empty", lambda size, device: None)  # what shows that the device works
    assert distributed.local_device(name) == torch.device("cuda", index)
    assert chosen == [torch.device("cuda", index)]
