"""Regularisers of the architecture parameters: terms that are added to the loss of the `alpha` step.

(Weight decay is an option of the optimizer: `search.architecture_optimizer.weight_decay`.)
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from archselect.models.supernet.relaxation import Dirichlet
from archselect.utils.validation import NON_NEGATIVE_FLOAT


class Regularizer(Protocol):
    """A term of the loss in `alpha`."""

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        """Return the term, a scalar.

        Args:
            alpha: Of all undecided edges of all cell types, `(edges, operations)`, -inf where there is no candidate.
            weights: Their mixture weights, of the same shape, zero there.
        """
        ...


@dataclass(frozen=True)
class L2:
    """`weight * sum alpha^2`, so that the gradient is twice `weight` times `alpha`.

    Unlike the optimizer's weight decay it leaves the parameters of decided edges alone.
    """

    weight: float

    def __post_init__(self) -> None:
        NON_NEGATIVE_FLOAT.check("the weight of search.regularizers (L2)", self.weight)

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        """See `Regularizer`."""
        return self.weight * alpha.where(alpha > -torch.inf, 0.0).square().sum()


@dataclass(frozen=True)
class Entropy:
    """`weight` times the mean entropy of an edge's mixture in nats: a price on indecision; below 0, on decision."""

    weight: float

    def __post_init__(self) -> None:
        NON_NEGATIVE_FLOAT.check("the size of the weight of search.regularizers (Entropy)", abs(self.weight))

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        """See `Regularizer`."""
        shares = weights / weights.sum(dim=1, keepdim=True)
        # The derivative of p log p is infinite at p = 0, where there is no candidate: no share, no gradient.
        return self.weight * -(shares * shares.masked_fill(shares == 0, 1.0).log()).sum(dim=1).mean()


@dataclass(frozen=True)
class ZeroOne:
    """`-weight * mean (z - 1/2)^2` over all mixture weights z, which pushes them to 0 and 1 (FairDARTS' zero-one loss).

    Attributes:
        weight: 10 in the authors' code.
    """

    weight: float = 10.0

    def __post_init__(self) -> None:
        NON_NEGATIVE_FLOAT.check("the weight of search.regularizers (ZeroOne)", self.weight)

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        """See `Regularizer`."""
        return -self.weight * (weights[alpha > -torch.inf] - 0.5).square().mean()


@dataclass(frozen=True)
class DirichletKL:
    """`weight * sum over edges of KL(Dir(elu(alpha) + 1) || Dir(1))` (DrNAS): keeps the draws spread out.

    Attributes:
        weight: 0.001 in the authors' code, where it takes the place of the weight decay of `alpha`.
    """

    weight: float = 1e-3

    def __post_init__(self) -> None:
        NON_NEGATIVE_FLOAT.check("the weight of search.regularizers (DirichletKL)", self.weight)

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        """See `Regularizer`."""
        exists = alpha > -torch.inf
        concentration = Dirichlet.concentration(alpha).where(exists, 1.0)
        total = concentration.where(exists, 0.0).sum(dim=1)
        excess = (concentration - 1) * (concentration.digamma() - total.digamma().unsqueeze(1))
        per_edge = (
            total.lgamma()
            - concentration.lgamma().sum(dim=1)  # 0 where there is no candidate
            - exists.sum(dim=1).to(total).lgamma()
            + excess.sum(dim=1)
        )
        return self.weight * per_edge.sum()
