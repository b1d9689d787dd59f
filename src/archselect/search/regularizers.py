"""Regularisers of the architecture parameters: terms that are added to the loss of the `alpha` step.

One of your own is a subclass of `Regularizer` and a file such as `configs/search/part/l2.yaml`, which
`search/part=[l2]` adds. (Weight decay is an option of the optimizer: `search.architecture_optimizer.weight_decay`.)
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from archselect.distributed.process_group import whole_batches
from archselect.models.supernet.relaxation import Dirichlet, Relaxation
from archselect.models.supernet.supernet import Supernet
from archselect.training.step import gradients_of
from archselect.utils.validation import FiniteFloat, NonNegativeFloat, check_fields


@dataclass(frozen=True)
class Regularizer(ABC):
    """A term of the loss in `alpha`, with its weight."""

    weight: NonNegativeFloat

    def __post_init__(self) -> None:
        check_fields(self, "search.regularizers.*")

    def check(self, relaxation: Relaxation) -> None:  # noqa: B027
        """Raise a ValueError unless the term makes sense for such a relaxation of `alpha`."""

    @abstractmethod
    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        """Return the term, a scalar.

        `alpha`, `(edges, operations)`, is that of all undecided edges of all cell types, -inf where there is no
        candidate; `weights` are their mixture weights, of the same shape, zero there.
        """


def regularizer_gradients(supernet: Supernet, regularizers: Iterable[Regularizer]) -> Sequence[Tensor]:
    """Return the gradient of the sum of some terms in every architecture parameter, zero for decided edges."""
    width = max(space.width for space in supernet.cell_spaces.values())
    alphas, weights = [], []
    for name, decisions in supernet.decisions.items():
        undecided, missing = list(decisions.undecided_edges), (0, width - supernet.cell_spaces[name].width)
        alphas.append(F.pad(supernet.masked_alpha(name)[undecided], missing, value=-torch.inf))
        weights.append(F.pad(supernet.relaxed(name)[undecided], missing))
    alpha, mixture = torch.cat(alphas), torch.cat(weights)
    total = torch.stack([regularizer(alpha, mixture) for regularizer in regularizers]).sum()
    with whole_batches():  # of no batch: it is the same in every process
        return gradients_of(total, supernet.architecture_parameters())


@dataclass(frozen=True)
class L2(Regularizer):
    """`weight * sum alpha^2`, so that the gradient is twice `weight` times `alpha`.

    Unlike the optimizer's weight decay it leaves the parameters of decided edges alone.
    """

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        return self.weight * alpha.where(alpha > -torch.inf, 0.0).square().sum()


@dataclass(frozen=True)
class Entropy(Regularizer):
    """`weight` times the mean entropy of an edge's mixture in nats (as DA2S, Tian et al., arXiv 2007.03154).

    Above 0 the weight is a price on indecision, below 0 on decision.
    """

    weight: FiniteFloat

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        shares = weights / weights.sum(dim=1, keepdim=True)
        # The derivative of p log p is infinite at p = 0, where there is no candidate: no share, no gradient.
        return self.weight * -(shares * shares.masked_fill(shares == 0, 1.0).log()).sum(dim=1).mean()


@dataclass(frozen=True)
class ZeroOne(Regularizer):
    """`-weight * mean (z - 1/2)^2` over all mixture weights z, which pushes them to 0 and 1.

    The zero-one loss of FairDARTS (Chu et al., ECCV 2020, arXiv 1911.12126).
    """

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
        return -self.weight * (weights[alpha > -torch.inf] - 0.5).square().mean()


@dataclass(frozen=True)
class DirichletKL(Regularizer):
    """`weight * sum over edges of KL(Dir(elu(alpha) + 1) || Dir(1))`, which keeps the draws spread out.

    DrNAS (Chen et al., ICLR 2021, arXiv 2006.10355), where it takes the place of the weight decay of `alpha`.
    """

    def check(self, relaxation: Relaxation) -> None:
        if not isinstance(relaxation, Dirichlet):
            raise ValueError(
                "search.regularizers has a DirichletKL, which reads alpha as the concentration of a Dirichlet "
                f"distribution, but search.relaxation is {type(relaxation).__name__}. Use "
                "archselect.models.supernet.relaxation.Dirichlet, or another regulariser."
            )

    def __call__(self, alpha: Tensor, weights: Tensor) -> Tensor:
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
