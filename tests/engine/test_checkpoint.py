# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from ldie.engine import checkpoint
from ldie.engine.checkpoint import Header
from ldie.errors import CheckpointError
from safetensors.torch import save_file

HEADER = Header("toy", {"solver": {"lr": 0.1}}, {"classes": ["a", "b"]}, 12, {"bbox/AP": 0.5}, {"torch": "2"})


def test_weights_round_trip_with_header(tmp_path):
    weights = {"a": torch.randn(3, 4).t(), "n": torch.tensor(7), "b": torch.randn(2, dtype=torch.bfloat16)}
    weights["tied"] = weights["a"]
    path = tmp_path / "deep" / "x.safetensors"
    checkpoint.save_weights(path, weights, HEADER)
    header, loaded = checkpoint.load_weights(path)
    assert header == HEADER
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.resume.pt"
    checkpoint.save_resume(path, {"step": 1})

    def half_a_file(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", half_a_file)
    with pytest.raises(CheckpointError, match=r"x\.resume\.pt: cannot be written .*No space left"):
        checkpoint.save_resume(path, {"step": 2})
    assert checkpoint.load_resume(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def write_foreign(path):
    save_file({"a": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"not safetensors at all"), "not a readable checkpoint"),
        (lambda path: path.write_bytes(b""), "not a readable checkpoint"),
        (lambda path: path.mkdir(), "not a readable checkpoint"),
        (lambda path: None, "not a readable checkpoint"),
        (write_foreign, "without ldie's header"),
    ],
)
def test_unusable_weights(tmp_path, write, message):
    path = tmp_path / "x.safetensors"
    write(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoint.load_weights(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_truncated_weights_and_resume_state(tmp_path):
    weights, resume = tmp_path / "x.safetensors", tmp_path / "x.resume.pt"
    checkpoint.save_weights(weights, {"a": torch.zeros(1000)}, HEADER)
    checkpoint.save_resume(resume, {"a": torch.zeros(1000)})
    for path, load in ((weights, checkpoint.load_weights), (resume, checkpoint.load_resume)):
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(CheckpointError, match=path.name):
            load(path)


def test_one_wrong_bit_is_noticed(tmp_path):
    weights, resume = tmp_path / "x.safetensors", tmp_path / "x.resume.pt"
    values = torch.arange(10_000)
    checkpoint.save_weights(weights, {"a": values}, HEADER)
    checkpoint.save_resume(resume, {"a": values})
    for path, load in ((weights, checkpoint.load_weights), (resume, checkpoint.load_resume)):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=f"{path.name}: not a readable .*checksum"):
            load(path)


class Payload:
    """Unpickling it would call print."""

    def __reduce__(self):
        return print, ("executed",)


def test_a_resume_state_runs_no_code(tmp_path, capsys):
    path = tmp_path / "x.resume.pt"
    torch.save({"a": Payload()}, path)
    with pytest.raises(CheckpointError, match="not a readable resume state"):
        checkpoint.load_resume(path)
    assert "executed" not in capsys.readouterr().out


def test_find_prune_and_newest(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.find_weights(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        checkpoint.find_weights(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        checkpoint.newest(tmp_path)
    for step in (5, 10, 15):
        path = checkpoint.weights_path(tmp_path, step)
        checkpoint.save_weights(path, {}, HEADER)
        checkpoint.save_resume(checkpoint.resume_path(path), {})
    incomplete = checkpoint.weights_path(tmp_path, 20)
    checkpoint.save_resume(checkpoint.resume_path(incomplete), {})
    assert checkpoint.newest(tmp_path) == checkpoint.weights_path(tmp_path, 15)
    checkpoint.prune(tmp_path, keep=2)
    assert [path.name for path in checkpoint.resumable(tmp_path)] == [
        "step_0000010.safetensors",
        "step_0000015.safetensors",
    ]
    assert checkpoint.find_weights(tmp_path) == checkpoint.newest(tmp_path)
    best = tmp_path / "checkpoints" / "best.safetensors"
    checkpoint.save_weights(best, {}, HEADER)
    assert checkpoint.find_weights(tmp_path) == checkpoint.find_weights(tmp_path / "checkpoints") == best
    assert checkpoint.find_weights(incomplete.with_name("step_0000010.safetensors")).name == "step_0000010.safetensors"
