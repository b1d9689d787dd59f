"""What every search space offers.

Other operations on the cells of a space are a file such as `configs/search_space/s4.yaml`; they may be a user's own
(`models.ops.own`). Another topology is a subclass with a `Supernet` and a `DiscreteNetwork`; the shortest is
`nasbench201.py`, here, in `models/supernet` and in `models/discrete`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, TypeVar

from archselect.genotype import Genotype
from archselect.models.cell_space import CellDecisions, CellSpace, CellTopology
from archselect.models.discrete.network import DiscreteNetwork
from archselect.models.ops.contract import checked
from archselect.models.ops.own import Operation
from archselect.models.ops.primitives import PRIMITIVES, Primitives, primitive
from archselect.models.stems import REDUCTIONS, Choice, Head, Stem, check_head, head_for, stem_for
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions
from archselect.models.supernet.supernet import Supernet
from archselect.utils.validation import NON_NEGATIVE_FLOAT, POSITIVE_INT

Network = TypeVar("Network", bound=Supernet | DiscreteNetwork)

Candidate = str | Operation | Mapping[str, Any]
"""The name of an operation; or one of a user's own, defined here, as it is or as `{name: ..., _target_: ...}`."""
CellOperations = Sequence[Candidate] | Sequence[Sequence[Candidate]]
OperationsOf = Mapping[str, CellOperations]
Operations = CellOperations | OperationsOf
"""One list for every edge; or one list per edge; or either of them per cell type."""


class SearchSpace(ABC):
    """A search space: cells to choose, and the supernet and the discrete networks made of them.

    Args:
        name: Shown in folders and reports.
        operations: The candidate operations.
        alpha_scale: Standard deviation of the architecture parameters at the start; 0 gives uniform mixtures.
        operations_of: Candidate operations of single cell types, in place of those in `operations`.
        stem: What stands before the cells: `conv3x3`, `imagenet`, or one's own (`models.stems`).
        head: What makes the outputs: `linear`, or one's own.
        supernet_sizes: Channels and depth of the supernet.

    Attributes:
        primitives: All operations that there are in this space: the package's, and those defined in `operations`.
    """

    topologies: ClassVar[Mapping[str, CellTopology]]
    stem_multiplier: ClassVar[int] = 1
    """Channels of the stem as a multiple of C, but for the stem `imagenet`, which has C."""

    def __init__(
        self,
        name: str,
        operations: Operations,
        alpha_scale: float,
        operations_of: OperationsOf | None,
        stem: Choice = "conv3x3",
        head: Choice = "linear",
        **supernet_sizes: int,
    ) -> None:
        for size, value in supernet_sizes.items():
            POSITIVE_INT.check(f"search_space.{size}", value)
        NON_NEGATIVE_FLOAT.check("search_space.alpha_scale", alpha_scale)
        self.name = name
        self.supernet_sizes: Mapping[str, int] = supernet_sizes
        self.alpha_scale = alpha_scale
        self.stem, self.head = stem, head_for(head)
        by_cell = dict(operations if isinstance(operations, Mapping) else dict.fromkeys(self.topologies, operations))
        by_cell |= operations_of or {}
        if set(by_cell) != set(self.topologies):
            raise ValueError(
                f"Search space {name!r} has the cell types {sorted(self.topologies)}, but operations were given for "
                f"{sorted(by_cell)}."
            )
        per_edge = {cell: _per_edge(cell, topology, by_cell[cell]) for cell, topology in self.topologies.items()}
        candidates = chain.from_iterable(edge for edges in per_edge.values() for edge in edges)
        self._own, self._narrowest = _own(candidates), supernet_sizes.get("channels", 16)
        own = {name: checked(made, self._narrowest) for name, made in self._own.items()}
        self.primitives: Primitives = {**PRIMITIVES, **own}
        self.cells = {
            cell: CellSpace(cell, topology, tuple(map(self._names, per_edge[cell])), own)
            for cell, topology in self.topologies.items()
        }

    def check_variant(self, variant: SupernetOptions) -> None:
        """Raise a ValueError if an operation of a user's own does not take the channels that a search gives it."""
        if variant.partial_channels > 1:
            for operation in self._own.values():
                checked(operation, variant.active_channels(self._narrowest))

    def _names(self, candidates: Sequence[Candidate]) -> tuple[str, ...]:
        """Return the names of candidates, which must be known; a definition counts as its name."""
        names = tuple(name_of(candidate) for candidate in candidates)
        for name in names:
            primitive(name, self.primitives)
        return names

    @abstractmethod
    def supernet(
        self, image_size: int, classes: int, variant: SupernetOptions = DARTS_OPTIONS, in_channels: int = 3
    ) -> Supernet:
        """Return a new supernet as a search method asks for; its parameters come from torch's global generator."""

    @abstractmethod
    def network(
        self, genotype: Genotype, image_size: int, classes: int, in_channels: int = 3, **skeleton: Any
    ) -> DiscreteNetwork:
        """Return a new discrete network of `genotype`; `skeleton` holds its depth and width, another stem or head."""

    def check(self, genotype: Genotype) -> None:
        """Raise a ValueError if `genotype` does not lie in this space."""
        if set(genotype.names) != set(self.cells):
            raise ValueError(
                f"Search space {self.name!r} has the cell types {sorted(self.cells)}, but the genotype has "
                f"{sorted(genotype.names)}. It was made for another search space: name that one by search_space=..., "
                "or another genotype."
            )
        for name, cell in self.cells.items():
            for _, _, operation in genotype.cell(name).edges:
                primitive(operation, self.primitives)
            cell.check(genotype.cell(name))

    def example(self) -> Genotype:
        """Return some architecture: the candidates in turn on the edges, and the first inputs of every node."""
        cells = []
        for space in self.cells.values():
            decisions = CellDecisions.none(space)
            for edge in decisions.undecided_edges:
                decisions = decisions.keep_operation(edge, edge % len(space.operations[edge]))
            for node in decisions.undecided_nodes(space):
                into = space.topology.edges_into(node)
                decisions = decisions.keep_inputs(space, node, into[: space.topology.edges_kept_into(node)])
            cells.append(decisions.genotype(space))
        return Genotype(tuple(cells))

    def describe(self) -> dict[str, Any]:
        """Return the cells' edges and candidates as JSON-able data."""
        return {"cells": {name: cell.describe() for name, cell in self.cells.items()}}

    def _check_carries(self, carries: bool) -> None:
        """Raise a ValueError for a space whose operations carry nothing from the image to the classifier."""
        if not carries:
            raise ValueError(
                f"Search space {self.name!r} has no path from the image to the classifier on which every edge offers "
                "another operation than 'none', so no network in it would see an image. Add operations to "
                "search_space.operations."
            )

    def _ends(self, in_channels: int, image_size: int, choices: Mapping[str, Choice | None]) -> dict[str, Any]:
        """Return stem and head of a network as its class takes them: as `choices` say, or else as the space does."""
        stem, head = choices.get("stem"), choices.get("head")
        return {
            "stem": self._stem(self.stem if stem is None else stem, in_channels, image_size),
            "head": self.head if head is None else head_for(head),
            "in_channels": in_channels,
        }

    def _stem(self, choice: Choice, in_channels: int, image_size: int) -> Callable[[int], Stem]:
        """Return the stem of networks of C channels, for images of that size, which must suit it."""
        if isinstance(choice, str) and choice in REDUCTIONS:
            self._check_image_size(image_size, REDUCTIONS[choice][1])

        def of(channels: int) -> Stem:
            stem = stem_for(choice, in_channels, channels, self.stem_multiplier, image_size)
            self._check_image_size(image_size, stem.reductions[1])
            return stem

        return of

    def _checked_head(self, network: Network, head: Head, outputs: int, image_size: int) -> Network:
        """Return a network whose head has been tried out on feature maps of the size that it will get."""
        draws = check_head(head, network.features, outputs, image_size // (4 * network.reduction))
        if isinstance(network, Supernet):
            network.draws |= draws
        return network

    def _check_image_size(self, image_size: int, reduction: int) -> None:
        """Raise a ValueError if cells cannot halve images twice, once a stem has made them smaller."""
        if image_size < 8 * reduction or image_size % (4 * reduction):
            before = "" if reduction == 1 else f", after its stem has made it {reduction} times smaller"
            raise ValueError(
                f"Search space {self.name!r} halves the image twice{before}, so images must measure a multiple of "
                f"{4 * reduction} and at least {8 * reduction} pixels; got {image_size}x{image_size}. Take other "
                "images; data=image_folder scales them to data.image_size."
            )


def _per_edge(cell: str, topology: CellTopology, operations: CellOperations) -> list[Sequence[Candidate]]:
    """Return the candidates of each edge."""
    if operations is not None and not isinstance(operations, Sequence):
        raise ValueError(
            f"The operations of the {cell} cell must be a list of names or one list per edge; got {operations!r}."
        )
    entries: list[Any] = [operations] if isinstance(operations, str) else list(operations or ())
    if not entries:
        raise ValueError(f"The {cell} cell has an empty list of candidate operations. List at least one.")
    if all(isinstance(entry, str | Operation | Mapping) for entry in entries):
        return [entries] * len(topology.edges)
    if not all(isinstance(entry, Sequence) and not isinstance(entry, str) for entry in entries):
        raise ValueError(
            f"The operations of the {cell} cell mix names and lists: give one list of names, or one per edge; "
            f"got {entries}."
        )
    return entries


def name_of(candidate: Candidate) -> str:
    """Return the name of a candidate operation, as genotypes store it."""
    if isinstance(candidate, Mapping):
        return str(candidate.get("name"))
    return candidate.name if isinstance(candidate, Operation) else candidate


def _own(candidates: Iterable[Candidate]) -> dict[str, Operation]:
    """Return the operations that are defined among candidates, by name; a ValueError for two definitions of a name."""
    found: dict[str, Operation] = {}
    for candidate in candidates:
        if isinstance(candidate, str):
            continue
        made = Operation.from_config(candidate) if isinstance(candidate, Mapping) else candidate
        one = found.setdefault(made.name, made)
        if one.definition != made.definition:
            raise ValueError(
                f"Operation {made.name!r} is defined twice, as {one.definition} and as {made.definition}. Define it "
                "once, and elsewhere name it; or give one of them another name."
            )
    return found
