"""The network that NAS-Bench-201 trained for each of its cells."""

from collections.abc import Callable

from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.genotype import Genotype
from archselect.models.discrete.network import DiscreteCell, DiscreteNetwork, check_cells, check_sizes
from archselect.models.ops.primitives import PRIMITIVES, Primitives, three_stages
from archselect.models.stems import LINEAR, Head, Stem, both, default_stem


class NASBench201Network(DiscreteNetwork):
    """Stem, three stages of equal cells with a residual block of stride 2 between them, BN-ReLU, global pool, linear.

    Dong and Yang, NAS-Bench-201 (arXiv 2001.00326). Sizes for 10 classes: the cell 6111 has 1,073,466 weights, the cell
    of skip connections alone 73,306.

    Args:
        genotype: One cell, named "cell", of one input; its last node is its output.
        channels: `C` of the first stage; each residual block doubles them.
        cells_per_stage: `N` of the paper.
        classes: Number of classes.
        in_channels: Of the images.
        stem: Of C; None: Conv3x3 and BN. Of a pair of feature maps the second is read.
        head: Makes the outputs.
        primitives: The operations that there are: those of the genotype's search space.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int = 16,
        cells_per_stage: int = 5,
        classes: int = 10,
        in_channels: int = 3,
        stem: Callable[[int], Stem] | None = None,
        head: Head = LINEAR,
        primitives: Primitives = PRIMITIVES,
    ) -> None:
        check_cells(genotype, ["cell"], inputs=1)
        check_sizes(channels=channels, cells_per_stage=cells_per_stage, classes=classes)
        begin = default_stem(in_channels, channels) if stem is None else stem(channels)
        super().__init__(in_channels, begin.reductions[1])
        cell = genotype.cell("cell")
        self.stem = begin.build()
        self.blocks = three_stages(channels, cells_per_stage, lambda width: DiscreteCell(cell, width, 1, primitives))
        self.head = nn.Sequential(BatchNorm2d(4 * channels), nn.ReLU(inplace=True))
        self.features, self.pooled = 4 * channels, head.pooled
        self.classifier = head.build(4 * channels, classes)

    def _evaluate(self, x: Tensor, with_auxiliary: bool) -> tuple[Tensor, Tensor | None]:
        probability = self._active_drop_path_probability()
        _, x = both(self.stem(x))
        for block in self.blocks:
            x = block([x], probability)[-1] if isinstance(block, DiscreteCell) else block(x)
        x = self.head(x)
        return self.classifier(x.mean(dim=(2, 3)) if self.pooled else x), None
