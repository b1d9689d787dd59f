"""Parameters, multiply-accumulates and activations of a network, counted without computing anything.

The network is run once on PyTorch's meta device, where a tensor has a shape but no values: nothing is allocated, and
what is counted is what the forward does, operations of a user's own included.
"""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from archselect import kernels
from archselect.models.discrete.network import DiscreteNetwork


@dataclass(frozen=True)
class Costs:
    """What a network costs at inference, for one image.

    Attributes:
        params: Weights as papers count them: without the auxiliary head, which is used in training only.
        macs: Multiply-accumulates of convolutions, linear layers and matrix products (attention). As in papers, biases,
            poolings, normalisations and activations count nothing.
        peak_activation_bytes: The most bytes that the image and what is computed from it take at one time, in float32,
            as the network is written (`CostCounter.peak_bytes`). Weights and the workspace of kernels are not among
            them.
    """

    params: int
    macs: int
    peak_activation_bytes: int


def count(network: nn.Module, image_size: int, in_channels: int = 3) -> Costs:
    """Return what one image `(1, in_channels, image_size, image_size)` costs a network in evaluation mode.

    The network may lie on any device, the meta device included, and is left as it was.

    Example:
        >>> space = archselect.DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=4, layers=3)
        >>> count(space.network(space.example(), image_size=8, classes=10, channels=4, layers=3), image_size=8)
        Costs(params=8822, macs=119168, peak_activation_bytes=17728)
    """
    with torch.no_grad(), torch.device("meta"), kernels.disabled(), evaluating(network):
        tensors = {name: tensor.to("meta") for name, tensor in _named_tensors(network)}
        images = torch.empty(1, in_channels, image_size, image_size)
        with CostCounter(tensors.values()) as counter:
            counter.hold(images)
            functional_call(network, tensors, images)
    return Costs(parameter_count(network), counter.macs, counter.peak_bytes)


def parameter_count(network: nn.Module) -> int:
    """Return the number of weights, without those of an auxiliary head."""
    if isinstance(network, DiscreteNetwork):
        return network.parameter_count()
    return sum(weight.numel() for weight in network.parameters())


class CostCounter(TorchDispatchMode):
    """Counts what PyTorch's operators do while it is entered, on any device.

    Args:
        weights: Tensors whose memory does not count, views of them included.

    Attributes:
        macs: Multiply-accumulates, by the formulas of `torch.utils.flop_counter` (which counts each as two FLOPs).
        live_bytes: Of the tensors made so far that are still referred to; views of a tensor and what is written into it
            in place take no memory of their own.
        peak_bytes: The most of them after any operator, when its inputs and its outputs are both there.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.macs = self.live_bytes = self.peak_bytes = 0
        self._known = {weight.untyped_storage()._cdata for weight in weights}

    def hold(self, tensor: Tensor) -> None:
        """Count the memory of a tensor until nobody refers to it."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self.live_bytes += storage.nbytes()
            self.peak_bytes = max(self.peak_bytes, self.live_bytes)
            weakref.finalize(storage, self._let_go, storage._cdata, storage.nbytes())

    def _let_go(self, storage: int, size: int) -> None:
        self._known.discard(storage)
        self.live_bytes -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if (flops := flop_registry.get(func._overloadpacket)) is not None:
            self.macs += flops(*args, **kwargs, out_val=result) // 2
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.hold(leaf)
        return result


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its modules back into the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _named_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return chain(network.named_parameters(), network.named_buffers())
