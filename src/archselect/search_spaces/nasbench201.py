"""NAS-Bench-201 (ICLR 2020): one cell of six edges, 15,625 architectures with known results."""

from collections.abc import Mapping
from typing import Any, ClassVar

from archselect.genotype import Genotype
from archselect.models.cell_space import CellTopology
from archselect.models.discrete.nasbench201 import NASBench201Network
from archselect.models.stems import Choice
from archselect.models.supernet.nasbench201 import NASBench201Supernet
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions
from archselect.search_spaces.base import Operations, OperationsOf, SearchSpace

NASBENCH201_CELL = CellTopology(inputs=1, nodes=3, output="last", inputs_per_node=None)


class NASBench201Space(SearchSpace):
    """One cell type, `cell`, of three nodes and six edges, all of which stay.

    The other arguments are those of `SearchSpace`.

    Args:
        channels: C of the supernet's first stage.
        cells_per_stage: N of the paper.

    Example:
        >>> space = archselect.NASBench201Space("two", ["skip_connect", "nor_conv_3x3"], channels=4, cells_per_stage=1)
        >>> space.cells["cell"].operations[0], len(space.cells["cell"].topology.edges)
        (('skip_connect', 'nor_conv_3x3'), 6)
    """

    topologies: ClassVar[Mapping[str, CellTopology]] = {"cell": NASBENCH201_CELL}

    def __init__(
        self,
        name: str,
        operations: Operations,
        channels: int,
        cells_per_stage: int,
        alpha_scale: float = 1e-3,
        operations_of: OperationsOf | None = None,
        stem: Choice = "conv3x3",
        head: Choice = "linear",
    ) -> None:
        sizes = {"channels": channels, "cells_per_stage": cells_per_stage}
        super().__init__(name, operations, alpha_scale, operations_of, stem, head, **sizes)
        self._check_carries(self.cells["cell"].carries([True]))
        self.channels, self.cells_per_stage = channels, cells_per_stage

    def supernet(
        self, image_size: int, classes: int, variant: SupernetOptions = DARTS_OPTIONS, in_channels: int = 3
    ) -> NASBench201Supernet:
        options = {"alpha_scale": self.alpha_scale, "variant": variant, **self._ends(in_channels, image_size, {})}
        made = NASBench201Supernet(self.cells, self.channels, self.cells_per_stage, classes, **options)
        return self._checked_head(made, options["head"], classes, image_size)

    def network(
        self, genotype: Genotype, image_size: int, classes: int, in_channels: int = 3, **skeleton: Any
    ) -> NASBench201Network:
        """Return a new discrete network; `skeleton`: channels, cells_per_stage, stem, head."""
        self.check(genotype)
        options = {**skeleton, **self._ends(in_channels, image_size, skeleton), "primitives": self.primitives}
        made = NASBench201Network(genotype, classes=classes, **options)
        return self._checked_head(made, options["head"], classes, image_size)
