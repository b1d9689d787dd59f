"""Relaxations: how architecture parameters become mixture weights, and what else search methods ask of a supernet.

All map `alpha`, `(edges, operations)` with -inf where an edge has no such candidate, to weights of the same shape, zero
there. A relaxation has a mean, which validation, selection and reports read, and what a training step evaluates, which
is drawn from PyTorch's own generator where the method samples.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Gamma

from archselect.utils.validation import FLAG, POSITIVE_FLOAT, POSITIVE_INT, one_of

Undrawn = Literal["omitted", "constant"]
"""What becomes of the operations of an edge that a sparse relaxation does not draw: `omitted`: nothing; `constant`: the
edge adds their weights to every element of its output. These are zero, so that the output stays what it is, but not
their gradients.
"""


class Relaxation(Protocol):
    """How `alpha` becomes mixture weights.

    Attributes:
        sparse: Whether most of what it draws is zero, so that the weights must be looked at before they are evaluated.
        undrawn: See `Undrawn`; read where the relaxation is sparse.
        varies: Whether it changes in the course of the search.
    """

    @property
    def sparse(self) -> bool: ...

    @property
    def undrawn(self) -> "Undrawn": ...

    @property
    def varies(self) -> bool: ...

    def mean(self, alpha: Tensor) -> Tensor:
        """Return the weights that stand for the whole distribution."""
        ...

    def sample(self, alpha: Tensor) -> Tensor:
        """Return the weights of one training step, differentiable in `alpha`."""
        ...

    def at(self, progress: float) -> "Relaxation":
        """Return the relaxation at a moment of the search, from 0, its first epoch, to 1, its last."""
        ...


@dataclass(frozen=True)
class Softmax:
    """The weights of an edge are positive and sum to 1 (DARTS, eq. 2)."""

    sparse = False
    undrawn: ClassVar[Undrawn] = "omitted"
    varies = False

    def mean(self, alpha: Tensor) -> Tensor:
        """See `Relaxation`."""
        return alpha.softmax(dim=-1)

    def sample(self, alpha: Tensor) -> Tensor:
        """Nothing is drawn: see `Relaxation`."""
        return self.mean(alpha)

    def at(self, progress: float) -> "Softmax":
        """See `Relaxation`."""
        return self


@dataclass(frozen=True)
class Sigmoid:
    """Every operation has a weight between 0 and 1 of its own, so that none wins at the cost of others (FairDARTS)."""

    sparse = False
    undrawn: ClassVar[Undrawn] = "omitted"
    varies = False

    def mean(self, alpha: Tensor) -> Tensor:
        """See `Relaxation`."""
        return alpha.sigmoid()

    def sample(self, alpha: Tensor) -> Tensor:
        """Nothing is drawn: see `Relaxation`."""
        return self.mean(alpha)

    def at(self, progress: float) -> "Sigmoid":
        """See `Relaxation`."""
        return self


@dataclass(frozen=True)
class GumbelSoftmax:
    """`softmax((log softmax(alpha) + g) / t)` with Gumbel noise g and a temperature t (SNAS; GDAS).

    Where it is hard, the step evaluates the operation with the largest of these weights alone, at weight 1, and its
    gradient is that of the soft weight (GDAS). How often an operation is the largest is softmax(alpha),
    whatever the temperature; that is the mean here, for soft weights as well, which approach it as t goes to 0.

    Attributes:
        hard: Whether one operation per edge is evaluated.
        first: Temperature in the first epoch.
        last: Temperature in the last epoch.
        schedule: `linear` or `exponential` in between.
        undrawn: See `Undrawn`. The authors of GDAS add constants in NAS-Bench-201 (AutoDL-Projects,
            xautodl/models/cell_searchs/search_cells.py, `NAS201SearchCell.forward_gdas`) and omit them in the DARTS
            space (`NASNetSearchCell.forward_gdas`). Soft draws leave nothing undrawn.
        temperature: At the moment.
    """

    hard: bool
    first: float
    last: float
    schedule: Literal["linear", "exponential"] = "linear"
    undrawn: Undrawn = "omitted"
    temperature: float | None = None

    varies = True

    def __post_init__(self) -> None:
        FLAG.check("search.relaxation.hard", self.hard)
        POSITIVE_FLOAT.check("search.relaxation.first", self.first)
        POSITIVE_FLOAT.check("search.relaxation.last", self.last)
        one_of(("linear", "exponential")).check("search.relaxation.schedule", self.schedule)
        one_of(get_args(Undrawn)).check("search.relaxation.undrawn", self.undrawn)

    @property
    def sparse(self) -> bool:
        """See `Relaxation`."""
        return self.hard

    def mean(self, alpha: Tensor) -> Tensor:
        """See `Relaxation`."""
        return alpha.softmax(dim=-1)

    def sample(self, alpha: Tensor) -> Tensor:
        """See `Relaxation`."""
        noise = -torch.empty_like(alpha).exponential_().clamp_min(torch.finfo(alpha.dtype).tiny).log()
        temperature = self.first if self.temperature is None else self.temperature
        scores = alpha.log_softmax(dim=-1) + noise
        soft = (scores / temperature).softmax(dim=-1)
        if not self.hard:
            return soft
        # Not of the soft weights, which rounding makes equal where the temperature is high.
        one = F.one_hot(scores.argmax(dim=-1), scores.shape[-1]).to(soft)
        return one + soft - soft.detach()

    def at(self, progress: float) -> "GumbelSoftmax":
        """See `Relaxation`."""
        if self.schedule == "linear":
            temperature = self.first + (self.last - self.first) * progress
        else:
            temperature = self.first * (self.last / self.first) ** progress
        return replace(self, temperature=temperature)


@dataclass(frozen=True)
class Dirichlet:
    """Weights drawn from the Dirichlet distribution with concentration `elu(alpha) + 1` (DrNAS).

    Drawn as gamma variables over their sum, so that the gradient passes through the draw.
    """

    sparse = False
    undrawn: ClassVar[Undrawn] = "omitted"
    varies = False

    def mean(self, alpha: Tensor) -> Tensor:
        """See `Relaxation`."""
        concentration = self.concentration(alpha)
        return concentration / concentration.sum(dim=-1, keepdim=True)

    def sample(self, alpha: Tensor) -> Tensor:
        """See `Relaxation`."""
        exists = alpha > -torch.inf
        # In float32 the draws of small concentrations all round to the smallest number there is.
        concentration = self.concentration(alpha).double().where(exists, 1.0)
        drawn = Gamma(concentration, torch.ones_like(concentration), validate_args=False).rsample() * exists
        return (drawn / drawn.sum(dim=-1, keepdim=True)).to(alpha.dtype)

    def at(self, progress: float) -> "Dirichlet":
        """See `Relaxation`."""
        return self

    @staticmethod
    def concentration(alpha: Tensor) -> Tensor:
        """Return the concentration, 0 where there is no candidate."""
        # The sum would be rounded to 0 where alpha is far below 0, and a draw has no gradient there. Filled rather than
        # clamped: the gradient of a clamp at its bound, where alpha starts, differs between versions of PyTorch.
        above = alpha > 0
        return torch.where(above, alpha + 1, alpha.masked_fill(above, 0.0).exp())


EdgeNormalization = Literal["none", "share", "scaled"]
"""Whether the in-edges of a node have weights of their own: `none`; `share`: softmax(beta), which sum to 1 (PC-DARTS,
edge normalization); `scaled`: as many times that as the node has edges, so that equal betas equal none.
"""


@dataclass(frozen=True)
class SupernetOptions:
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
        POSITIVE_INT.check("search.partial_channels", self.partial_channels)
        one_of(get_args(EdgeNormalization)).check("search.edge_normalization", self.edge_normalization)
        FLAG.check("search.auxiliary_skip", self.auxiliary_skip)

    def active_channels(self, channels: int) -> int:
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


DARTS_OPTIONS = SupernetOptions()
"""The supernet of DARTS."""
