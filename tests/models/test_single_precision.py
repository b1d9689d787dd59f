"""What a step finds in float32, on each device there is, is what float64 finds on a CPU, tensor by tensor."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect import kernels
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.ops import PRIMITIVES, build_operation
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.supernet import Supernet

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
DARTS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
NASBENCH201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@pytest.fixture(autouse=True)
def _single_precision() -> Iterator[None]:
    """Keep TF32, which has three digits, and the compiled loops, which have tests of their own, out of it."""
    with kernels.disabled(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # it would turn cuDNN off
        yield


def small(name: str) -> Supernet:
    torch.manual_seed(0)
    if name == "nasbench201":
        space = CellSpace("cell", CellTopology(1, 2, "last", None), (NASBENCH201,) * 3)
        return NASBench201Supernet({"cell": space}, channels=4, cells_per_stage=1, classes=3)
    topology = CellTopology(2, 2, "concat", 2)
    cells = {cell: CellSpace(cell, topology, (DARTS,) * 5) for cell in ("normal", "reduction")}
    return DartsSupernet(cells, channels=4, layers=3, classes=3)


def gradients(network: nn.Module, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
    """Return output, gradients and statistics of one evaluation, in float64 on the CPU."""
    x = x.detach().requires_grad_()
    out = network.train()(x)
    if labels is None:  # the mean square of what is normalised is constant
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        loss = (out * weights.to(out)).mean()
    else:
        loss = F.cross_entropy(out, labels)
    named = {"input": x, **dict(network.named_parameters())}
    found = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
    tensors = {"output": out, **dict(zip(named, found, strict=True)), **dict(network.named_buffers())}
    return {name: tensor.detach().double().cpu() for name, tensor in tensors.items()}


def worst(network: nn.Module, x: Tensor, device: str, labels: Tensor | None = None) -> tuple[float, str]:
    """Return the largest relative error of a tensor in float32 on the device, and its name."""
    single = copy.deepcopy(network).float().to(device)
    pixels = x.float().to(device, memory_format=torch.channels_last)
    actual = gradients(single, pixels, None if labels is None else labels.to(device))
    expected = gradients(network.double(), x, labels)
    scale = torch.finfo(torch.float64).tiny
    return max(
        (float((actual[name] - value).norm() / value.norm().clamp_min(scale)), name) for name, value in expected.items()
    )


@on_each_device
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [4, 16])
@pytest.mark.parametrize("name", sorted(PRIMITIVES.keys() - {"none", "noise"}))
def test_an_operation_and_its_gradients(name: str, channels: int, stride: int, device: str) -> None:
    torch.manual_seed(1)
    operation = nn.Sequential(build_operation(name, channels, stride, affine=False))
    x = torch.randn(16, channels, 16, 16, dtype=torch.float64)
    x = torch.where(x.abs() < 1e-3, 1e-3, x)  # away from the kink of the ReLU
    error, tensor = worst(operation, x, device)
    assert error < 1e-3, f"{tensor} differs by {error:.2g} of its norm"


@on_each_device
@pytest.mark.parametrize("name", ["nasbench201", "darts"])
def test_a_supernet_and_its_gradients(name: str, device: str) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(16, 3, 32, 32, generator=generator, dtype=torch.float64)
    error, tensor = worst(small(name), x, device, torch.arange(16) % 3)
    assert error < 0.05, f"{tensor} differs by {error:.2g} of its norm"  # rounding moves some values over a ReLU's kink
