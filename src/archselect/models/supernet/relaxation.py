"""Relaxations: how architecture parameters become mixture weights, and what else search methods ask of a supernet.

All map `alpha`, `(edges, operations)` with -inf where an edge has no such candidate, to weights of the same shape, zero
there. A relaxation has a mean, which validation, selection and reports read, and what a training step evaluates, which
is drawn from PyTorch's own generator where the method samples.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Gamma

from archselect.utils.validation import PositiveFloat, PositiveInt, check_fields

Undrawn = Literal["omitted", "constant"]
"""What becomes of the operations that a sparse relaxation does not draw: nothing, or their edge adds their weights to
every element of its output. These are zero, so that the output stays what it is, but not their gradients.
"""


class Relaxation(ABC):
    """How `alpha` becomes mixture weights."""

    sparse = False  # whether most of what it draws is zero, so that weights must be looked at before they are evaluated
    undrawn: Undrawn = "omitted"

    @abstractmethod
    def mean(self, alpha: Tensor) -> Tensor:
        """Return the weights that stand for the whole distribution."""

    def sample(self, alpha: Tensor) -> Tensor:
        """Return the weights of one training step, differentiable in `alpha`; the mean where nothing is drawn."""
        return self.mean(alpha)

    def at(self, progress: float) -> Self:
        """Return the relaxation at a moment of the search, from 0, its first epoch, to 1, its last."""
        return self


@dataclass(frozen=True)
class Softmax(Relaxation):
    """The weights of an edge are positive and sum to 1 (DARTS, eq. 2)."""

    def mean(self, alpha: Tensor) -> Tensor:
        return alpha.softmax(dim=-1)


@dataclass(frozen=True)
class Sigmoid(Relaxation):
    """Every operation has a weight between 0 and 1 of its own, so that none wins at the cost of others (FairDARTS)."""

    def mean(self, alpha: Tensor) -> Tensor:
        return alpha.sigmoid()


@dataclass(frozen=True)
class GumbelSoftmax(Softmax):
    """`softmax((log softmax(alpha) + g) / t)` with Gumbel noise g and a temperature t (SNAS; GDAS).

    Where it is hard, the step evaluates the operation with the largest of these weights alone, at weight 1, and its
    gradient is that of the soft weight (GDAS). How often an operation is the largest is softmax(alpha),
    whatever the temperature; that is the mean here, for soft weights as well, which approach it as t goes to 0.

    What is not drawn adds constants in NAS-Bench-201 (AutoDL-Projects, xautodl/models/cell_searchs/search_cells.py,
    `NAS201SearchCell.forward_gdas`) and is omitted in the DARTS space (`NASNetSearchCell.forward_gdas`).
    """

    hard: bool
    first: PositiveFloat
    last: PositiveFloat
    undrawn: Undrawn = "omitted"
    temperature: float | None = None  # at the moment

    def __post_init__(self) -> None:
        check_fields(self, "search.relaxation")

    @property
    def sparse(self) -> bool:  # type: ignore[override]
        return self.hard

    def sample(self, alpha: Tensor) -> Tensor:
        noise = -torch.empty_like(alpha).exponential_().clamp_min(torch.finfo(alpha.dtype).tiny).log()
        temperature = self.first if self.temperature is None else self.temperature
        scores = alpha.log_softmax(dim=-1) + noise
        soft = (scores / temperature).softmax(dim=-1)
        if not self.hard:
            return soft
        # Not of the soft weights, which rounding makes equal where the temperature is high.
        one = F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(soft)
        return one + soft - soft.detach()

    def at(self, progress: float) -> Self:
        return replace(self, temperature=self.first + (self.last - self.first) * progress)


@dataclass(frozen=True)
class Dirichlet(Relaxation):
    """Weights drawn from the Dirichlet distribution with concentration `elu(alpha) + 1` (DrNAS).

    Drawn as gamma variables over their sum, so that the gradient passes through the draw.
    """

    def mean(self, alpha: Tensor) -> Tensor:
        concentration = self.concentration(alpha)
        return concentration / concentration.sum(dim=-1, keepdim=True)

    def sample(self, alpha: Tensor) -> Tensor:
        exists = alpha > -torch.inf
        # In float32 the draws of small concentrations all round to the smallest number there is.
        concentration = self.concentration(alpha).double().where(exists, 1.0)
        drawn = Gamma(concentration, torch.ones_like(concentration), validate_args=False).rsample() * exists
        return (drawn / drawn.sum(dim=-1, keepdim=True)).to(alpha.dtype)

    @staticmethod
    def concentration(alpha: Tensor) -> Tensor:
        """Return the concentration, 0 where there is no candidate."""
        # The sum would be rounded to 0 where alpha is far below 0, and a draw has no gradient there. Filled rather than
        # clamped: the gradient of a clamp at its bound, where alpha starts, differs between versions of PyTorch.
        above = alpha > 0
        return torch.where(above, alpha + 1, alpha.masked_fill(above, 0.0).exp())


EdgeNormalization = Literal["none", "share"]
"""Which weights of their own the in-edges of a node have: none, or softmax(beta), which sum to 1 (PC-DARTS, 3.3)."""


@dataclass(frozen=True)
class SupernetOptions:
    """What a search method asks of a supernet: partial channels (PC-DARTS, sec. 3.2), auxiliary skips (DARTS-minus)."""

    relaxation: Relaxation = field(default_factory=Softmax)
    partial_channels: PositiveInt = 1
    edge_normalization: EdgeNormalization = "none"
    auxiliary_skip: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "search")

    def active_channels(self, channels: int) -> int:
        """Return how many of a state's channels pass the mixture; a ValueError where they cannot be divided so."""
        if channels % self.partial_channels:
            raise ValueError(
                f"search.partial_channels={self.partial_channels} lets one of so many channels pass the operations, "
                f"but cells of {channels} channels cannot be divided so. Choose a divisor, or other "
                "search_space.channels."
            )
        return channels // self.partial_channels


DARTS_OPTIONS = SupernetOptions()
