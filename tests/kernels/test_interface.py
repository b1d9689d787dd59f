from contextlib import nullcontext

import pytest
import torch

from archselect import kernels

X = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("images", "available"),
    [
        *((X.to(dtype), True) for dtype in (torch.float32, torch.float64)),
        *((X.to(dtype), False) for dtype in (torch.float16, torch.bfloat16, torch.int64)),
        (X.to("meta"), False),
        (X[0], False),
    ],
    ids=lambda value: f"{value.dtype} on {value.device}" if isinstance(value, torch.Tensor) else "",
)
def test_the_loops_take_images_in_single_and_double_precision_on_a_cpu(images, available):
    assert kernels.is_available(images) == available


@pytest.mark.parametrize(
    ("around", "available"), [(torch.autocast("cpu"), False), (nullcontext(), True)], ids=["autocast", "as it is"]
)
def test_autocast_is_left_to_pytorch(around, available):
    with around:
        assert kernels.is_available(X) == available
        with torch.autocast("cpu", enabled=False):
            assert kernels.is_available(X)


def test_compilation_is_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert not kernels.is_available(X)
