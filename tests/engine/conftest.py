# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from engine.toy import write_dataset
from ldie import systems


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "toy")


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
