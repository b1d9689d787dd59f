"""The states of a cell, with what all that read them share."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from archselect import kernels
from archselect.kernels import Moments
from archselect.kernels.layout import channels_last
from archselect.networks.topology import Output

T = TypeVar("T")


class Source:
    """A state of a cell and what all operations on it share.

    Args:
        state: `(B, C, H, W)`.
        stride: Of every edge that leaves this state.
    """

    def __init__(self, state: Tensor, stride: int = 1) -> None:
        self.state = state
        self.stride = stride
        self._read: dict[Callable[[Source], Any], Any] = {}

    @property
    def relu(self) -> Tensor:
        """`(B, C, H, W)`: what every convolution starts from."""
        return self.once(_relu)

    @property
    def relu_moments(self) -> Moments:
        """Of the channels of `relu`."""
        return self.once(_relu_moments)

    @property
    def relu_even(self) -> Tensor:
        """`(B, C, ceil(H / 2), ceil(W / 2))`: the first of each 2x2 pixels of `relu`."""
        return self.once(_relu_even)

    @property
    def relu_odd(self) -> Tensor:
        """`(B, C, H // 2, W // 2)`: the last of each 2x2 pixels of `relu`."""
        return self.once(_relu_odd)

    @property
    def relu_corners(self) -> Tensor:
        """`(B, 2 * C, H / 2, W / 2)`: `relu_even` and `relu_odd`."""
        return self.once(_relu_corners)

    @property
    def relu_corners_moments(self) -> Moments:
        """Of the channels of `relu_corners`."""
        return self.once(_relu_corners_moments)

    def once(self, read: Callable[["Source"], T]) -> T:
        """Return `read(self)`, computed at the first call."""
        if read not in self._read:
            self._read[read] = read(self)
        return cast(T, self._read[read])


def _relu(source: Source) -> Tensor:
    return F.relu(source.state)


def _relu_moments(source: Source) -> Moments:
    return kernels.moments([source.relu])


def _relu_even(source: Source) -> Tensor:
    return kernels.every_second(source.relu)


def _relu_odd(source: Source) -> Tensor:
    return kernels.every_second(source.relu, 1)


def _relu_corners(source: Source) -> Tensor:
    return channels_last(torch.cat([source.relu_even, source.relu_odd], dim=1))


def _relu_corners_moments(source: Source) -> Moments:
    return kernels.moments([source.relu_corners])


class CellOutput:
    """The nodes of a cell, as later cells and the classifier read them.

    Args:
        nodes: Each `(B, C, H, W)`.
        output: `concat` of the nodes' channels, or the `last` node.
    """

    def __init__(self, nodes: Sequence[Source], output: Output = "concat") -> None:
        self.parts = tuple(nodes) if output == "concat" else (nodes[-1],)
        self._value: Tensor | None = None

    @property
    def value(self) -> Tensor:
        """`(B, len(parts) * C, H, W)`."""
        if self._value is None:
            states = [part.state for part in self.parts]
            self._value = states[0] if len(states) == 1 else torch.cat(states, dim=1)
        return self._value
