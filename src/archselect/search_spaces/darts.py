"""The DARTS family: DARTS and S1-S4 differ in their candidate operations only."""

from collections.abc import Mapping
from typing import Any, ClassVar

from archselect.genotype import Genotype
from archselect.models.cell_space import CellTopology
from archselect.models.discrete.darts import DartsNetwork
from archselect.models.stems import Choice
from archselect.models.supernet.darts import DartsSupernet
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions
from archselect.search_spaces.base import Operations, OperationsOf, SearchSpace

DARTS_CELL = CellTopology(inputs=2, nodes=4, output="concat", inputs_per_node=2)


class DartsSpace(SearchSpace):
    """Two cell types, `normal` and `reduction`, of four nodes and 14 edges (DARTS, sec. 2.1; S1-S4: RobustDARTS).

    The other arguments are those of `SearchSpace`.

    Args:
        channels: C of the supernet's first cells.
        layers: Number of the supernet's cells.

    Example:
        >>> s2 = archselect.DartsSpace("s2", ["skip_connect", "sep_conv_3x3"], channels=4, layers=3)
        >>> supernet = s2.supernet(image_size=8, classes=10)
        >>> {cell: tuple(alpha.shape) for cell, alpha in supernet.alphas.items()}  # (edges, operations)
        {'normal': (14, 2), 'reduction': (14, 2)}
        >>> s2.network(s2.example(), image_size=8, classes=10, channels=4, layers=3).parameter_count()
        8822
    """

    topologies: ClassVar[Mapping[str, CellTopology]] = {"normal": DARTS_CELL, "reduction": DARTS_CELL}
    stem_multiplier: ClassVar[int] = 3

    def __init__(
        self,
        name: str,
        operations: Operations,
        channels: int,
        layers: int,
        alpha_scale: float = 1e-3,
        operations_of: OperationsOf | None = None,
        stem: Choice = "conv3x3",
        head: Choice = "linear",
    ) -> None:
        sizes = {"channels": channels, "layers": layers}
        super().__init__(name, operations, alpha_scale, operations_of, stem, head, **sizes)
        if layers < 3:
            raise ValueError(
                "A supernet of the DARTS family needs at least 3 layers, so that it has a normal cell and two "
                f"reductions; search_space.layers got {layers}."
            )
        if channels % 2:
            raise ValueError(f"search_space.channels must be even: a reduction joins two halves; got {channels}.")
        before_previous = previous = True  # does the output of the cell carry anything of the image?
        for layer in range(layers):
            cell = self.cells["reduction" if layer in (layers // 3, 2 * layers // 3) else "normal"]
            before_previous, previous = previous, cell.carries([before_previous, previous])
        self._check_carries(previous)
        self.channels, self.layers = channels, layers

    def supernet(
        self, image_size: int, classes: int, variant: SupernetOptions = DARTS_OPTIONS, in_channels: int = 3
    ) -> DartsSupernet:
        options = {"alpha_scale": self.alpha_scale, "variant": variant, **self._ends(in_channels, image_size, {})}
        made = DartsSupernet(self.cells, self.channels, self.layers, classes, **options)
        return self._checked_head(made, options["head"], classes, image_size)

    def network(
        self, genotype: Genotype, image_size: int, classes: int, in_channels: int = 3, **skeleton: Any
    ) -> DartsNetwork:
        """Return a new discrete network; `skeleton`: channels, layers, auxiliary, stem, head."""
        self.check(genotype)
        options = {**skeleton, **self._ends(in_channels, image_size, skeleton), "primitives": self.primitives}
        made = DartsNetwork(genotype, classes=classes, **options)
        return self._checked_head(made, options["head"], classes, image_size)
