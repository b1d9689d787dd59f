import pytest
import torch

from archselect import kernels
from archselect.kernels.cpu import native as calls


@pytest.fixture(autouse=True)
def _loops():
    with kernels.enabled():
        yield


@pytest.fixture(autouse=True)
def _the_same_numbers_in_every_run():
    torch.manual_seed(0)


@pytest.fixture(params=[1, 2, 3], ids=lambda number: f"{number}_threads")
def threads(request, monkeypatch):
    """So many threads, which share out images however small."""
    monkeypatch.setattr(calls, "GRAIN", 1)
    calls._native_loops.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
    calls._native_loops.cache_clear()
