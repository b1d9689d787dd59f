import pytest
import torch

from archselect import kernels

X = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_images_in_single_and_double_precision_are_served(dtype):
    assert kernels.is_available(X.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64], ids=str)
def test_others_are_not(dtype):
    assert not kernels.is_available(X.to(dtype))


def test_images_elsewhere_than_on_the_cpu_are_not():
    assert not kernels.is_available(X.to("meta"))


def test_autocast_is_left_to_pytorch():
    with torch.autocast("cpu"):
        assert not kernels.is_available(X)
        with torch.autocast("cpu", enabled=False):
            assert kernels.is_available(X)
    assert kernels.is_available(X)


def test_compilation_is_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not kernels.is_available(X)
