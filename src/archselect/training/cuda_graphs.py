"""Evaluating steps with less work for the host.

A supernet's step is thousands of small kernels, and launching them one by one takes longer than running them. A CUDA
graph is recorded once and replayed with one launch: the same kernels in the same order on the same memory, so the
numbers are those of the plain step. `torch.compile` writes fewer kernels, in another order: the numbers are equal up to
rounding.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from archselect.models.supernet.mixed_cell import MixedCell

T = TypeVar("T")
Recording = tuple[torch.cuda.CUDAGraph, list[Tensor], Any]
"""A graph, the tensors that it reads, and what it returns."""

CaptureName = Literal["none", "cuda_graphs", "compile"]


class Capture:
    """Evaluates functions of trees of tensors (tuples, lists, dicts) as they are; others record and replay them."""

    def __call__(self, key: Hashable, function: Callable[..., T], inputs: Sequence[Any]) -> T:
        """Return `function(*inputs)`. What came back is valid until the next call with the same key."""
        return function(*inputs)

    def forget(self) -> None:
        """Free what was recorded, when what it computes has changed."""


class CudaGraphs(Capture):
    """Records a function the first time its key, with the shapes of its inputs, is seen, and replays it from then on.

    Recording runs the function three times for real before it counts, on copies of the state that `preserve` names, so
    that the numbers do not depend on whether a step was recorded or replayed: the tensors that the function changes in
    place (running statistics).
    """

    WARM_UPS = 3

    def __init__(self, preserve: Callable[[], Sequence[Tensor]]) -> None:
        self.preserve = preserve
        self._graphs: dict[Hashable, Recording] = {}

    def __call__(self, key: Hashable, function: Callable[..., T], inputs: Sequence[Any]) -> T:
        tensors = tree_leaves(inputs)
        key = (key, tuple(x.shape for x in tensors))
        if key not in self._graphs:
            self._graphs[key] = self._record(function, inputs)
        graph, static_tensors, outputs = self._graphs[key]
        for static, x in zip(static_tensors, tensors, strict=True):
            static.copy_(x)
        graph.replay()
        return cast(T, outputs)

    def forget(self) -> None:
        self._graphs.clear()

    def _record(self, function: Callable[..., Any], inputs: Sequence[Any]) -> Recording:
        static_inputs = tree_map(torch.clone, inputs)
        before = [(state, state.clone()) for state in self.preserve()]
        random_state = torch.cuda.get_rng_state()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(self.WARM_UPS):
                function(*static_inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, function(*static_inputs))
        for state, value in before:
            state.copy_(value)
        torch.cuda.set_rng_state(random_state)
        return graph, tree_leaves(static_inputs), outputs


class Compiled(Capture):
    """Compiles the cells of a supernet while nothing is decided.

    A cell is compiled, in place, once for each of its shapes and served to all cells of that shape. Which operations
    have weight is part of what is compiled, so from the first decision on the cells are evaluated as they are.
    """

    RECOMPILE_LIMIT = 64  # shapes of cells, with and without gradients; beyond it PyTorch compiles nothing, silently

    def __init__(self, cells: Sequence[nn.Module]) -> None:
        self._cells = cells
        import torch._dynamo  # takes a second, and most runs compile nothing

        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, self.RECOMPILE_LIMIT)
        for cell in cells:
            cell.forward = torch.compile(cell.forward, dynamic=False)

    def forget(self) -> None:
        for cell in self._cells:
            cell.__dict__.pop("forward", None)


def capture_for(name: CaptureName, device: torch.device, network: nn.Module) -> Capture:
    """Return the capture of that name for the steps of a network; see `check_capture`."""
    check_capture("capture", name, device)
    if name == "cuda_graphs":
        return CudaGraphs(lambda: list(network.buffers()))
    if name == "compile":
        return Compiled([module for module in network.modules() if isinstance(module, MixedCell)])
    return Capture()


def check_capture(option: str, name: CaptureName, device: torch.device) -> None:
    """Raise a ValueError that names the option if the device has no CUDA graphs and the name asks for them."""
    if name == "cuda_graphs" and device.type != "cuda":
        raise ValueError(f"{option}=cuda_graphs needs a CUDA device, but this run is on {device}. Use {option}=none.")
