"""The DARTS family: DARTS and S1-S4 differ in their candidate operations only."""

from collections.abc import Mapping
from typing import Any, ClassVar

from archselect.genotype import Genotype
from archselect.models.cell_space import CellTopology
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions
from archselect.search_spaces.base import (
    Operations,
    OperationsOf,
    SearchSpace,
    check_carries,
    check_image_size,
    check_positive,
)
from archselect.utils.validation import NON_NEGATIVE_FLOAT

DARTS_CELL = CellTopology(inputs=2, nodes=4, output="concat", inputs_per_node=2)


class DartsSpace(SearchSpace):
    """Two cell types, `normal` and `reduction`, of four nodes and 14 edges (DARTS, sec. 2.1; S1-S4: RobustDARTS).

    Args:
        name: Shown in folders and reports.
        operations: The candidate operations, see `Operations`.
        channels: C of the supernet's first cells.
        layers: Number of the supernet's cells.
        alpha_scale: Standard deviation of the architecture parameters at the start; 0 gives uniform mixtures.
        operations_of: Candidate operations of single cell types, in place of those in `operations`.
    """

    topologies: ClassVar[Mapping[str, CellTopology]] = {"normal": DARTS_CELL, "reduction": DARTS_CELL}

    def __init__(
        self,
        name: str,
        operations: Operations,
        channels: int = 16,
        layers: int = 8,
        alpha_scale: float = 1e-3,
        operations_of: OperationsOf | None = None,
    ) -> None:
        super().__init__(name, operations, operations_of)
        check_positive("the supernet", channels=channels, layers=layers)
        NON_NEGATIVE_FLOAT.check("search_space.alpha_scale", alpha_scale)
        if layers < 3:
            raise ValueError(
                "A supernet of the DARTS family needs at least 3 layers, so that it has a normal cell and two "
                f"reductions; got {layers}."
            )
        if channels % 2:
            raise ValueError(
                f"The channels of the supernet must be even: a reduction joins two halves; got {channels}."
            )
        check_carries(name, self._carries(layers))
        self.channels = channels
        self.layers = layers
        self.alpha_scale = alpha_scale

    def _carries(self, layers: int) -> bool:
        """Return whether some path of operations other than `none` leads through the cells of the supernet."""
        before_previous, previous = True, True
        for layer in range(layers):
            cell = self.cells["reduction" if layer in (layers // 3, 2 * layers // 3) else "normal"]
            before_previous, previous = previous, cell.carries([before_previous, previous])
        return previous

    def supernet(self, image_size: int, classes: int, variant: SupernetOptions = DARTS_OPTIONS) -> DartsSupernet:
        """See `SearchSpace.supernet`."""
        check_image_size(self.name, image_size)
        return DartsSupernet(
            self.cells, self.channels, self.layers, classes, alpha_scale=self.alpha_scale, variant=variant
        )

    def network(self, genotype: Genotype, image_size: int, classes: int, **skeleton: Any) -> DartsNetwork:
        """See `SearchSpace.network`; `skeleton`: channels, layers, auxiliary."""
        self.check(genotype)
        check_image_size(self.name, image_size)
        return DartsNetwork(genotype, DARTS_CELL, classes=classes, image_size=image_size, **skeleton)
