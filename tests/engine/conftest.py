# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from engine.command import FAST
from engine.toy import write_dataset
from ldie import systems
from ldie.cli import main


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture(scope="session")
def run_dir(data_dir, tmp_path_factory):
    """A short run of the toy; nothing in it is to be changed but ``eval/``."""
    work_dir = tmp_path_factory.mktemp("toy") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(systems.SYSTEMS, "toy", "engine.toy")
        assert main(["train", "toy", "--data", str(data_dir), "--work-dir", str(work_dir), *FAST]) == 0
    return work_dir


@pytest.fixture(autouse=True)
def one_thread():
    """The toy is too small to gain from more, and waiting threads slow each other down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def toy_system(monkeypatch):
    monkeypatch.setitem(systems.SYSTEMS, "toy", "engine.toy")
