"""What search methods ask of a supernet."""

from dataclasses import dataclass, field
from typing import get_args

from archselect.checks import check_choice, check_flag, check_positive
from archselect.networks.relaxation import EdgeNormalization, Relaxation, Softmax


@dataclass(frozen=True)
class Variant:
    """What a search method asks of a supernet.

    Attributes:
        relaxation: How architecture parameters become mixture weights.
        partial_channels: K: one K-th of a state's channels passes the mixture of an edge, the others go around it
            (PC-DARTS, partial channel connection); 1: all pass it.
        edge_normalization: See `EdgeNormalization`.
        auxiliary_skip: Whether each edge has a skip connection beside its mixture (DARTS-minus).
    """

    relaxation: Relaxation = field(default_factory=Softmax)
    partial_channels: int = 1
    edge_normalization: EdgeNormalization = "none"
    auxiliary_skip: bool = False

    def __post_init__(self) -> None:
        check_positive("search.partial_channels", self.partial_channels)
        check_choice("search.edge_normalization", self.edge_normalization, get_args(EdgeNormalization))
        check_flag("search.auxiliary_skip", self.auxiliary_skip)

    def passing(self, channels: int) -> int:
        """Return how many of a state's channels pass the mixture.

        Raises:
            ValueError: They cannot be divided so.
        """
        if channels % self.partial_channels:
            raise ValueError(
                f"search.partial_channels={self.partial_channels} lets one of so many channels pass the operations, "
                f"but cells of {channels} channels cannot be divided so. Choose a divisor, or other "
                "search_space.channels."
            )
        return channels // self.partial_channels


PLAIN = Variant()
"""The supernet of DARTS."""
