"""Supernets: networks whose cells are mixtures of all candidate operations."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import takewhile
from operator import not_
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from archselect.genotype import Genotype
from archselect.networks.cell_space import CellDecisions, CellSpace
from archselect.networks.mixed_cell import MixedCell
from archselect.networks.mixture import Active, Mixture, MixtureWeights
from archselect.networks.source import CellOutput


@dataclass(frozen=True)
class Begun:
    """A network evaluated up to a layer.

    Attributes:
        layer: The number of the layer that comes next.
        outputs: What it and later layers read: the outputs of the last two layers, or of the last one.
    """

    layer: int
    outputs: tuple[CellOutput, ...]


Relaxation = Callable[[Tensor], Tensor]
"""Maps architecture parameters `(edges, operations)` to mixture weights of the same shape."""


def softmax(alpha: Tensor) -> Tensor:
    """The relaxation of DARTS (eq. 2): the weights of an edge are positive and sum to 1."""
    return alpha.softmax(dim=-1)


class Supernet(nn.Module):
    """A network of mixed cells with one set of architecture parameters per cell type, shared by all cells of that type.

    Args:
        cells: The choices of each cell type.
        relaxation: How architecture parameters become mixture weights.
        alpha_scale: Standard deviation of the normal distribution that the architecture parameters are drawn from.

    Attributes:
        alphas: Architecture parameters, cell type -> `(edges, operations)`.
        decisions: What has been decided. A decided edge is one-hot, a dropped one zero; neither gives `alpha` a
            gradient.
        recompute: Whether cells are evaluated again in the backward pass instead of keeping what their gradients need.
    """

    def __init__(
        self, cells: Mapping[str, CellSpace], relaxation: Relaxation = softmax, alpha_scale: float = 1e-3
    ) -> None:
        super().__init__()
        self.cell_spaces = dict(cells)
        self.relaxation = relaxation
        self.alphas = nn.ParameterDict(
            {
                name: nn.Parameter(alpha_scale * torch.randn(len(space.operations), space.width))
                for name, space in cells.items()
            }
        )
        for name, space in cells.items():
            exists = torch.tensor(
                [[index < len(candidates) for index in range(space.width)] for candidates in space.operations]
            )
            self.register_buffer(f"_exists_{name}", exists, persistent=False)
            self.register_buffer(f"_mixed_{name}", torch.empty(0), persistent=False)
            self.register_buffer(f"_decided_{name}", torch.empty(0), persistent=False)
        self.recompute = False
        self._decisions: dict[str, CellDecisions] = {}
        self.decisions = {name: CellDecisions.none(space) for name, space in cells.items()}

    @property
    def decisions(self) -> Mapping[str, CellDecisions]:
        """Return what has been decided, per cell type; assign a new mapping to decide more."""
        return self._decisions

    @decisions.setter
    def decisions(self, decisions: Mapping[str, CellDecisions]) -> None:
        if set(decisions) != set(self.cell_spaces):
            raise ValueError(
                f"This supernet has the cell types {sorted(self.cell_spaces)}, but the decisions are about "
                f"{sorted(decisions)}."
            )
        for name, space in self.cell_spaces.items():
            decisions[name].check(space)
        self._decisions = dict(decisions)
        self._active: dict[str, Active] = {}
        for name, space in self.cell_spaces.items():
            state = self._decisions[name]
            self._active[name] = tuple(
                tuple(kept and index < len(candidates) and operation in (None, index) for index in range(space.width))
                for candidates, operation, kept in zip(space.operations, state.operations, state.kept, strict=True)
            )
            # As 0/1 factors, so that relaxing under the decisions is one multiply-add on any device.
            alpha = self.alphas[name]
            with torch.inference_mode(False):  # what is decided while validating must serve training too
                mixed, decided = torch.zeros_like(alpha), torch.zeros_like(alpha)
            for edge, (operation, kept) in enumerate(zip(state.operations, state.kept, strict=True)):
                if kept and operation is None:
                    mixed[edge] = 1
                elif kept:
                    decided[edge, operation] = 1
            setattr(self, f"_mixed_{name}", mixed.detach())
            setattr(self, f"_decided_{name}", decided.detach())

    def relaxed(self, cell: str) -> Tensor:
        """Return the relaxation of a cell type's `alpha`, `(edges, operations)`, whatever has been decided."""
        exists = cast(Tensor, getattr(self, f"_exists_{cell}"))
        return self.relaxation(self.alphas[cell].masked_fill(~exists, -torch.inf))

    def mixture_weights(self) -> MixtureWeights:
        """Return the relaxation of the architecture parameters under the decisions made so far."""
        weights = {
            name: self.relaxed(name) * getattr(self, f"_mixed_{name}") + getattr(self, f"_decided_{name}")
            for name in self.cell_spaces
        }
        return MixtureWeights(weights, self._active)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return logits `(B, classes)`.

        Args:
            x: Images `(B, 3, H, W)`.
            weights: Cell type -> mixture weights `(edges, operations)`. Cell types that are left out, and None, take
                the supernet's own `mixture_weights()`. Operations whose weight is zero are not evaluated.
        """
        unknown = sorted(set(weights or ()) - set(self.cell_spaces))
        if unknown:
            raise ValueError(
                f"This supernet has the cell types {sorted(self.cell_spaces)}, but weights were given for {unknown}."
            )
        mixtures = self.mixtures(weights)
        return self.finish(self.begin(x, mixtures, layers=0), mixtures)

    def mixtures(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, Mixture]:
        """Return the mixture of every cell type; see `forward`."""
        own = self.mixture_weights()
        mixtures = {}
        for name, space in self.cell_spaces.items():
            given = own if weights is None or name not in weights else weights
            active = given.active[name] if isinstance(given, MixtureWeights) else None
            mixtures[name] = Mixture(space, given[name], active)
        return mixtures

    def begin(self, x: Tensor, mixtures: Mapping[str, Mixture], layers: int) -> Begun:
        """Evaluate the stem and the first `layers` layers; `finish` goes on from there, under other mixtures too."""
        raise NotImplementedError

    def finish(self, begun: Begun, mixtures: Mapping[str, Mixture]) -> Tensor:
        """Return the logits `(B, classes)`. What was begun is not changed, so that it can be finished several times."""
        raise NotImplementedError

    def layers_before(self, cells: Collection[str]) -> int:
        """Return how many layers stand before the first cell of these types."""
        raise NotImplementedError

    def _evaluate(self, cell: MixedCell, inputs: Sequence[Tensor], mixtures: Mapping[str, Mixture]) -> CellOutput:
        """Return the output of a cell."""
        mixture = mixtures[cell.space.name]
        if not (self.recompute and torch.is_grad_enabled()):
            return cast(CellOutput, cell(inputs, mixture))
        noisy = any("noise" in names for names in cell.space.operations)
        output = checkpoint(
            cell,
            inputs,
            mixture,
            use_reentrant=False,
            preserve_rng_state=noisy,
            context_fn=lambda: (nullcontext(), _still_statistics(cell)),
        )
        return cast(CellOutput, output)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Return the `alpha` of every cell type."""
        return list(self.alphas.values())

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return all parameters but the architecture parameters."""
        architecture = {id(alpha) for alpha in self.architecture_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in architecture]

    def genotype(self) -> Genotype:
        """Return the architecture that was decided; a ValueError while something is undecided."""
        return Genotype(tuple(self.decisions[name].genotype(space) for name, space in self.cell_spaces.items()))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the decisions for the `state_dict`."""
        return {name: decisions.to_state() for name, decisions in self.decisions.items()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the decisions back from a `state_dict`."""
        self.decisions = {name: CellDecisions.from_state(decisions) for name, decisions in state.items()}


@contextmanager
def _still_statistics(cell: nn.Module) -> Iterator[None]:
    """Leave running statistics alone: a batch that is evaluated again was counted before."""
    norms = [(module, module.momentum) for module in cell.modules() if isinstance(module, nn.BatchNorm2d)]
    try:
        for norm, _ in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum


def layers_until(found: Iterable[bool]) -> int:
    """Return how many stand before the first that is found; all, if none is."""
    return sum(1 for _ in takewhile(not_, found))
