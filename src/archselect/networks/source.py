"""The states of a cell, with what all that read them share."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

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

    def once(self, read: Callable[["Source"], T]) -> T:
        """Return `read(self)`, computed at the first call."""
        if read not in self._read:
            self._read[read] = read(self)
        return cast(T, self._read[read])


def _relu(source: Source) -> Tensor:
    return F.relu(source.state)


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
