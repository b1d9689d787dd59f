"""Replaying a step on a GPU as one CUDA graph.

A supernet's step is thousands of small kernels, and launching them one by one takes longer than running them. A CUDA
graph is recorded once and replayed with one launch: the same kernels in the same order on the same memory, so the
numbers are those of the plain step.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

Function = Callable[..., Any]
CaptureName = Literal["none", "cuda_graphs"]


class Capture(Protocol):
    """Evaluates functions of tensors; may record a function under a key and replay it."""

    def __call__(self, key: Hashable, function: Function, inputs: Sequence[Tensor]) -> Any:
        """Return `function(*inputs)`. What came back is valid until the next call with the same key."""
        ...

    def forget(self) -> None:
        """Free what was recorded, when what it computes has changed."""
        ...


class NoCapture:
    """Evaluates every function as it is."""

    def __call__(self, key: Hashable, function: Function, inputs: Sequence[Tensor]) -> Any:
        """See `Capture`."""
        return function(*inputs)

    def forget(self) -> None:
        """Nothing is recorded: see `Capture`."""


class CudaGraphs:
    """Records a function the first time its key, with the shapes of its inputs, is seen, and replays it from then on.

    Recording runs the function three times for real before it counts, on copies of the state that `preserve` names, so
    that the numbers do not depend on whether a step was recorded or replayed.

    Args:
        preserve: Returns the tensors that the function changes in place (running statistics).
    """

    WARM_UPS = 3

    def __init__(self, preserve: Callable[[], Sequence[Tensor]]) -> None:
        self.preserve = preserve
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, list[Tensor], Any]] = {}

    def __call__(self, key: Hashable, function: Function, inputs: Sequence[Tensor]) -> Any:
        """Return `function(*inputs)`; see `Capture`."""
        key = (key, tuple(x.shape for x in inputs))
        if key not in self._graphs:
            self._graphs[key] = self._record(function, inputs)
        graph, static_inputs, outputs = self._graphs[key]
        for static, x in zip(static_inputs, inputs, strict=True):
            static.copy_(x)
        graph.replay()
        return outputs

    def forget(self) -> None:
        """See `Capture`."""
        self._graphs.clear()

    def _record(self, function: Function, inputs: Sequence[Tensor]) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Any]:
        static_inputs = [x.clone() for x in inputs]
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
        return graph, static_inputs, outputs


def capture_for(name: CaptureName, device: torch.device, preserve: Callable[[], Sequence[Tensor]]) -> Capture:
    """Return the capture of that name.

    Raises:
        ValueError: The device has no CUDA graphs.
    """
    if name == "none":
        return NoCapture()
    if device.type != "cuda":
        raise ValueError(
            f"search.capture=cuda_graphs needs a CUDA device, but this run is on {device}. Use search.capture=none."
        )
    return CudaGraphs(preserve)
