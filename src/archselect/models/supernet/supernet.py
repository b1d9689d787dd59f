"""The supernet: DARTS, sec. 2.2, the continuous relaxation of the choice of operations.

Every cell holds every candidate operation on every edge (`MixedCell`). The architecture parameters `alpha` of a cell
type, shared by all its cells, become mixture weights (`relaxation`), and a cell evaluates the sum that they weight
(`mixture`). Deciding an edge makes its weights one-hot, step by step or all at once by the largest (`argmax_alpha`).
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import takewhile
from operator import not_
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from archselect import kernels
from archselect.distributed.rng import drawn_alike
from archselect.genotype import Genotype
from archselect.models.cell_space import CellDecisions, CellSpace
from archselect.models.discrete.network import DiscreteNetwork
from archselect.models.ops.primitives import Primitives
from archselect.models.restored_state import frozen_bn_stats
from archselect.models.supernet.inheritance import Pairs, check_inheritable, inherit_weights
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixed_ops import CellOutput
from archselect.models.supernet.mixture import DecisionMasks, Mixture, MixtureWeights, nonzero
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions

Mixtures = Mapping[str, Mixture]
"""Cell type -> what its cells evaluate."""


@dataclass(frozen=True)
class PartialForward:
    """A network evaluated up to `layer`, and what it and later layers read: the outputs of the last one or two."""

    layer: int
    outputs: tuple[CellOutput, ...]


class Supernet(nn.Module, ABC):
    """A network of mixed cells with one set of architecture parameters per cell type, shared by all cells of that type.

    Args:
        cells: The choices of each cell type.
        variant: What the search method asks of it.
        alpha_scale: Standard deviation of the architecture parameters at the start.
        reduction: By what the stem makes images smaller before the cells halve them twice.

    Attributes:
        features: Channels of the last feature map, which the head reads.
        alphas: Architecture parameters, cell type -> `(edges, operations)`.
        betas: With edge normalisation, those of the edges, cell type -> `(edges,)`; otherwise empty.
        relaxation: How architecture parameters become mixture weights, at this moment of the search.
        auxiliary_weight: Of the auxiliary skip connections, at this moment of the search.
        masks: What has been decided, cell type -> `DecisionMasks`.
        draws: Whether it draws random numbers in training: a candidate operation, the stem, or the head.
        recompute: Whether cells are evaluated again in the backward pass instead of keeping what their gradients need.

    Example:
        >>> supernet = archselect.load_supernet(folder)  # or of a space: space.supernet(image_size, classes)
        >>> isinstance(supernet, archselect.Supernet)
        True
        >>> {cell: tuple(weights.shape) for cell, weights in supernet.mixture_weights().items()}
        {'normal': (14, 2), 'reduction': (14, 2)}
        >>> supernet.network().in_channels  # the discrete network by magnitude, with the supernet's weights
        3
    """

    features: int

    def __init__(
        self,
        cells: Mapping[str, CellSpace],
        variant: SupernetOptions = DARTS_OPTIONS,
        alpha_scale: float = 1e-3,
        reduction: int = 1,
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.cell_spaces = dict(cells)
        self.variant = variant
        self.relaxation = variant.relaxation
        self.auxiliary_weight = 0.0
        self.alphas, self.betas = nn.ParameterDict(), nn.ParameterDict()
        for name, space in cells.items():
            self.alphas[name] = nn.Parameter(alpha_scale * torch.randn(len(space.operations), space.width))
        if variant.edge_normalization == "share":
            for name, space in cells.items():
                self.betas[name] = nn.Parameter(alpha_scale * torch.randn(len(space.operations)))
        self.masks = {name: DecisionMasks(space) for name, space in cells.items()}
        self._masks = nn.ModuleList(self.masks.values())  # registered, so that they move with the supernet
        self.recompute = False
        self.draws = any(space.draws for space in cells.values())  # a subclass adds its stem, a search space the head

    @property
    def decisions(self) -> Mapping[str, CellDecisions]:
        """What has been decided, per cell type; assign a new mapping to decide more.

        A decided edge is one-hot, a dropped one zero; neither gives `alpha` a gradient.
        """
        return {name: masks.decisions for name, masks in self.masks.items()}

    @decisions.setter
    def decisions(self, decisions: Mapping[str, CellDecisions]) -> None:
        if set(decisions) != set(self.cell_spaces):
            raise ValueError(
                f"This supernet has the cell types {sorted(self.cell_spaces)}, but the decisions are about "
                f"{sorted(decisions)}."
            )
        for name, space in self.cell_spaces.items():
            decisions[name].check(space)
        for name, masks in self.masks.items():
            masks.decide(decisions[name])

    @property
    def primitives(self) -> Primitives:
        """All operations that there are in its search space."""
        return next(iter(self.cell_spaces.values())).primitives

    @property
    def mixed(self) -> Mapping[str, Tensor]:
        """Per cell type 1 for the candidates of undecided edges and 0 elsewhere, `(edges, operations)`."""
        return {name: masks.mixed for name, masks in self.masks.items()}

    def masked_alpha(self, cell: str) -> Tensor:
        """Return the `alpha` of a cell type, `(edges, operations)`, with -inf where an edge has no such candidate."""
        return self.alphas[cell].masked_fill(~self.masks[cell].exists, -torch.inf)

    def relaxed(self, cell: str) -> Tensor:
        """Return the relaxation of a cell type's `alpha`, `(edges, operations)`, whatever has been decided."""
        return self.relaxation.mean(self.masked_alpha(cell))

    def edge_weights(self, cell: str) -> Tensor | None:
        """Return what edge normalisation gives the edges of a cell type, `(edges,)`; None without it.

        Dropped edges get nothing, and the others of their node share it.
        """
        if not self.betas:
            return None
        feeds = self.masks[cell].feeds
        lowest = torch.finfo(feeds.dtype).min  # not -inf, which would make a node that nothing feeds NaN
        return (self.betas[cell].masked_fill(feeds == 0, lowest).softmax(dim=1) * feeds).sum(dim=0)

    def mixture_weights(self) -> MixtureWeights:
        """Return the relaxation of the architecture parameters under the decisions made so far."""
        return self._under_decisions({name: self.relaxed(name) for name in self.cell_spaces})

    def sampled_weights(self) -> MixtureWeights:
        """Return what a training step evaluates: `mixture_weights`, or where the relaxation samples a draw."""
        with drawn_alike():
            drawn = {name: self.relaxation.sample(self.masked_alpha(name)) for name in self.cell_spaces}
        weights = self._under_decisions(drawn)
        if self.relaxation.sparse:
            weights = weights.replaced(active={name: nonzero(row) for name, row in weights.items()})
            if self.relaxation.undrawn == "constant":
                zeros = {name: ~torch.tensor(weights.active[name], device=row.device) for name, row in weights.items()}
                undrawn = {name: (row * zeros[name]).sum(dim=1) for name, row in weights.items()}
                weights = weights.replaced(undrawn=undrawn)
        return weights

    def _under_decisions(self, relaxed: Mapping[str, Tensor]) -> MixtureWeights:
        weights = {name: row * self.masks[name].mixed + self.masks[name].decided for name, row in relaxed.items()}
        active = {name: masks.active for name, masks in self.masks.items()}
        edges = {name: cast(Tensor, self.edge_weights(name)) for name in self.betas}
        return MixtureWeights(weights, active, edges)

    def forward(self, x: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return logits `(B, classes)`.

        Args:
            x: Images `(B, in_channels, H, W)`.
            weights: Cell type -> mixture weights `(edges, operations)`. Cell types that are left out, and None, take
                the supernet's own `mixture_weights()`. Operations whose weight is zero are not evaluated.
        """
        unknown = sorted(set(weights or ()) - set(self.cell_spaces))
        if unknown:
            raise ValueError(
                f"This supernet has the cell types {sorted(self.cell_spaces)}, but weights were given for {unknown}."
            )
        mixtures = self.mixtures(weights)
        return self.forward_suffix(self.forward_prefix(x, mixtures, layers=0), mixtures)

    def mixtures(self, weights: Mapping[str, Tensor] | None = None) -> dict[str, Mixture]:
        """Return the mixture of every cell type under weights as `forward` takes them."""
        own, mixtures = self.mixture_weights(), {}
        for name, space in self.cell_spaces.items():
            given = own if weights is None or name not in weights else weights
            known = given if isinstance(given, MixtureWeights) else MixtureWeights(given, {}, own.edges)
            rows = known[name], known.active.get(name), known.edges.get(name)
            auxiliary = self.auxiliary_weight, self.decisions[name].undecided_edges
            mixtures[name] = Mixture(space, *rows, *auxiliary, known.drop_path, known.undrawn.get(name))
        return mixtures

    @abstractmethod
    def forward_prefix(self, x: Tensor, mixtures: Mixtures, layers: int) -> PartialForward:
        """Evaluate the stem and the first `layers` layers; `forward_suffix` goes on, under other mixtures too."""

    @abstractmethod
    def forward_suffix(self, partial: PartialForward, mixtures: Mixtures) -> Tensor:
        """Return the logits `(B, classes)`; `partial` is not changed, so that it can be continued several times."""

    @abstractmethod
    def layers_before(self, cells: Collection[str]) -> int:
        """Return how many layers stand before the first cell of these types."""

    def _evaluate(self, cell: MixedCell, inputs: Sequence[Tensor], mixtures: Mixtures) -> CellOutput:
        mixture = mixtures[cell.space.name]
        if not (self.recompute and torch.is_grad_enabled()):
            return cast(CellOutput, cell(inputs, mixture))
        by_kernels = kernels.are_enabled()
        noisy = mixture.drop_path > 0 or cell.space.draws
        again: dict[str, Any] = {"context_fn": lambda: (nullcontext(), _again(cell, by_kernels))}
        out = checkpoint(cell, inputs, mixture, use_reentrant=False, preserve_rng_state=noisy, **again)
        return cast(CellOutput, out)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Return the `alpha` of every cell type, then their `beta` if there are any."""
        return [*self.alphas.values(), *self.betas.values()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return all parameters but the architecture parameters."""
        architecture = set(map(id, self.architecture_parameters()))
        return [parameter for parameter in self.parameters() if id(parameter) not in architecture]

    def genotype(self) -> Genotype:
        """Return the architecture that was decided; a ValueError while something is undecided."""
        return Genotype(tuple(self.decisions[name].genotype(space) for name, space in self.cell_spaces.items()))

    def network(self, genotype: Genotype | None = None, inherit: bool = True) -> DiscreteNetwork:
        """Return the discrete network of an architecture, as deep and wide as the supernet, on its device.

        Args:
            genotype: None: what was decided, and by magnitude what was not.
            inherit: Whether it has the supernet's weights and statistics. It then computes what the supernet computes
                with all weight on the genotype's operations, up to rounding; like supernets of the DARTS family it
                normalises after pooling. Otherwise it is new, as retraining begins with it.

        Raises:
            ValueError: The genotype is none of the supernet's space, or the supernet has partial channels or weights of
                edges (PC-DARTS), which no discrete network has.
        """
        if genotype is None:
            genotype = argmax_genotype(self)
        for name, space in self.cell_spaces.items():
            space.check(genotype.cell(name))
        if inherit:
            check_inheritable(self.variant)
        network = self._new_network(genotype).to(next(self.parameters()))
        if inherit:
            inherit_weights(self._counterparts(network), genotype)
        return network.train(self.training)

    @abstractmethod
    def _new_network(self, genotype: Genotype) -> DiscreteNetwork:
        """Return a new discrete network of the supernet's depth and width."""

    @abstractmethod
    def _counterparts(self, network: DiscreteNetwork) -> Pairs:
        """Return the parts of the supernet, each with the part of a network of `_new_network` that stands for it."""

    def get_extra_state(self) -> dict[str, Any]:
        """Return the decisions for the `state_dict`."""
        return {name: decisions.to_state() for name, decisions in self.decisions.items()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take the decisions back from a `state_dict`."""
        self.decisions = {name: CellDecisions.from_state(decisions) for name, decisions in state.items()}


def layers_until(found: Iterable[bool]) -> int:
    """Return how many stand before the first that is found; all, if none is."""
    return sum(1 for _ in takewhile(not_, found))


@contextmanager
def _again(cell: nn.Module, by_kernels: bool) -> Iterator[None]:
    """Evaluate a cell as it was evaluated before, wherever the backward pass runs; its batch was counted."""
    with frozen_bn_stats(cell), kernels.enabled(by_kernels):
        yield


def argmax_alpha(supernet: Supernet) -> dict[str, CellDecisions]:
    """Return the decisions made so far with everything else decided by magnitude (DARTS, sec. 2.4)."""
    decided = dict(supernet.decisions)
    for name, space in supernet.cell_spaces.items():
        for edge in decided[name].undecided_edges:
            decided[name] = decided[name].keep_operation(edge, argmax_operation(supernet, space, edge))
        for node in decided[name].undecided_nodes(space):
            inputs = argmax_inputs(supernet, space, decided[name], node)
            decided[name] = decided[name].keep_inputs(space, node, inputs)
    return decided


def argmax_genotype(supernet: Supernet) -> Genotype:
    """Return the architecture that `argmax_alpha` decides for."""
    decided = argmax_alpha(supernet)
    return Genotype(tuple(decided[name].genotype(space) for name, space in supernet.cell_spaces.items()))


def argmax_operation(supernet: Supernet, space: CellSpace, edge: int) -> int:
    """Return the candidate of an edge with the largest weight.

    Where nodes choose their inputs, `none` is not taken while there is another: its weight says that an edge is weak,
    not which operation is strong.
    """
    weights = supernet.relaxed(space.name)[edge].tolist()
    allowed = [index for index, operation in enumerate(space.operations[edge]) if not says_weak(space, operation)]
    return max(allowed or [0], key=lambda index: weights[index])


def argmax_inputs(supernet: Supernet, space: CellSpace, decisions: CellDecisions, node: int) -> tuple[int, ...]:
    """Return the in-edges of a node whose kept operations have the largest weights.

    Where the supernet normalises its edges, their weights count too (PC-DARTS, sec. 3.3).
    """
    weights = supernet.relaxed(space.name).detach()
    edges = supernet.edge_weights(space.name)
    if edges is not None:
        weights = weights * edges.detach().unsqueeze(1)
    rows = weights.tolist()

    def strength(edge: int) -> float:
        operation = decisions.operations[edge]
        if operation is None or says_weak(space, space.operations[edge][operation]):
            return 0.0
        return float(rows[edge][operation])

    into = [edge for edge in space.topology.edges_into(node) if decisions.kept[edge]]
    return tuple(sorted(sorted(into, key=strength, reverse=True)[: space.topology.edges_kept_into(node)]))


def says_weak(space: CellSpace, operation: str) -> bool:
    """Return whether the weight of an operation says that its edge is weak: of `none`, where nodes choose inputs."""
    return operation == "none" and space.topology.inputs_per_node is not None
