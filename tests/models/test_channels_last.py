"""Images in channels_last: every operation, forwards and backwards, equals itself in float64 on images in NCHW.

In processes of their own: PyTorch's kernels for a CPU with AVX-512 have corrupted memory here (see `subsampled`), which
ends a process now or later, or leaves wrong numbers.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from tests.models.own_process import faults
from torch import Tensor, nn

from archselect import kernels
from archselect.models.cell_space import CellSpace, CellTopology
from archselect.models.ops import PRIMITIVES, FactorizedReduce, ReLUConvBN, build_operation
from archselect.models.ops.primitives import ResidualReduction
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixture import Mixture
from archselect.training.step import gradients_of

TOLERANCE = 1e-2
"""Of the norm of a difference, relative. float32 comes to 1e-5, and to 3e-3 where rounding takes one value of 100,000
to the other side of a ReLU; a single wrong row of pixels comes to more than 0.05."""

TWO_EDGES = CellTopology(inputs=1, nodes=2, output="concat", inputs_per_node=None)
DRAWN = ("noise", "none")  # neither reads its input


@dataclass(frozen=True)
class Case:
    """An operation, as a module or on the edges of a cell, on images of some channels and of some size."""

    name: str
    stride: int
    channels: int
    side: int
    loops: bool
    device: str = "cpu"

    def build(self) -> nn.Module:
        kind, _, name = self.name.rpartition(" ")
        if kind == "edges of":
            return Edges(name, self.channels, self.stride)
        return OTHERS[name](self.channels) if name in OTHERS else build_operation(name, self.channels, self.stride)


class Edges(nn.Module):
    """A cell whose three edges have one operation, two of them out of its input."""

    def __init__(self, name: str, channels: int, stride: int) -> None:
        super().__init__()
        space = CellSpace("cell", TWO_EDGES, ((name,),) * 3)
        self.cell = MixedCell(space, channels, stride)
        self.weights = nn.Parameter(torch.tensor([[0.7], [-0.4], [0.5]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.cell([x], Mixture(self.cell.space, self.weights)).value


OTHERS: dict[str, Callable[[int], nn.Module]] = {
    "preprocessing": lambda channels: ReLUConvBN(3 * channels, channels, 1, 1, 0),
    "reduction": lambda channels: FactorizedReduce(channels, 2 * channels),
    "narrowing": lambda channels: FactorizedReduce(channels, 2),
    "block": lambda channels: ResidualReduction(channels, 2 * channels),
}


def evaluated(module: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output and the gradients in the images and in the parameters, of an output weighted at random."""
    x = x.detach().requires_grad_()
    out = module(x)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    upstream = upstream.contiguous(memory_format=torch.channels_last) if x.dtype == torch.float32 else upstream
    inputs = [x, *module.parameters()]
    return [out.detach(), *gradients_of((out * upstream).sum(), inputs)]


def difference(case: Case) -> str:
    torch.manual_seed(0)
    module = case.build()
    exact = deepcopy(module).double()
    reads = 3 * case.channels if case.name == "preprocessing" else case.channels
    x = torch.randn(2, reads, case.side, case.side)
    last = x.to(case.device, memory_format=torch.channels_last)
    with kernels.disabled(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 has three digits
        expected = evaluated(exact, x.double())
        module = module.to(case.device)
        found = [evaluated(module, last) for _ in range(1 if case.loops else 3)][-1]
    if case.loops:
        with kernels.enabled():
            assert kernels.is_available(last)
            found = evaluated(module, last)
    if case.name.endswith(DRAWN):
        return ""
    size = expected[0].numel() ** 0.5
    pairs = zip((tensor.cpu() for tensor in found), expected, strict=True)
    off = [float((one - other).norm() / (other.norm() + size)) for one, other in pairs]
    return "" if max(off) < TOLERANCE else f"off by {max(off):.1e}"


def grid(
    channels: Sequence[int], sides: Sequence[int], names: Sequence[str], loops: bool, device: str = "cpu"
) -> list[Case]:
    return [
        Case(name, stride, width, side, loops, device)
        for name in names
        for stride in ((1, 2) if name.rpartition(" ")[2] in PRIMITIVES else (1,))
        for width in channels
        for side in sides
        if exists(name, stride, width, side)
    ]


def exists(name: str, stride: int, channels: int, side: int) -> bool:
    """A factorized reduction gives an even number of channels, and in a supernet it halves images of even size."""
    halves = name.endswith("skip_connect") and stride == 2
    return not (halves and (channels % 2 or (side % 2 and name in EDGES)))


EDGES = [f"edges of {name}" for name in PRIMITIVES]
ALL = [*PRIMITIVES, *EDGES, *OTHERS]
POINTWISE = ["skip_connect", "nor_conv_1x1", "edges of skip_connect", "edges of nor_conv_1x1", *OTHERS]


def test_convolutions_of_one_pixel_and_stride_2_do_not_corrupt_memory() -> None:
    assert faults(difference, grid([2, 12], [64], POINTWISE, loops=False)) == []


@pytest.mark.parametrize("loops", [False, True], ids=["operators", "loops"])
def test_every_operation_equals_itself_in_float64(loops: bool) -> None:
    assert faults(difference, grid([6], [18], ALL, loops)) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_operation_on_a_gpu_equals_itself_in_float64_on_a_cpu() -> None:
    assert faults(difference, grid([4, 16], [16], ALL, loops=False, device="cuda")) == []


@pytest.mark.slow
@pytest.mark.parametrize("loops", [False, True], ids=["operators", "loops"])
@pytest.mark.parametrize("name", ALL)
def test_so_it_does_at_every_width_and_size(name: str, loops: bool) -> None:
    assert faults(difference, grid(range(1, 17), [8, 32, 64, 65, 96, 160], [name], loops)) == []
