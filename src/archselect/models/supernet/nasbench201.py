"""The supernet of NAS-Bench-201."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.genotype import Genotype
from archselect.models.cell_space import CellSpace
from archselect.models.discrete.nasbench201 import NASBench201Network
from archselect.models.discrete.network import DiscreteNetwork
from archselect.models.ops.primitives import three_stages
from archselect.models.stems import LINEAR, Head, Stem, both, default_stem
from archselect.models.supernet.inheritance import Pairs
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixed_ops import CellOutput
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions
from archselect.models.supernet.supernet import Mixtures, PartialForward, Supernet, layers_until


class NASBench201Supernet(Supernet):
    """The supernet of NAS-Bench-201: three stages of cells, a residual block of stride 2 between them.

    Args:
        cells: The one cell type, `cell`.
        channels: C of the first stage; doubled by each residual block.
        cells_per_stage: N of the paper.
        classes: Number of classes.
        alpha_scale: As of `Supernet`.
        variant: As of `Supernet`.
        in_channels: Of the images.
        stem: As of `NASBench201Network`, as is `head`.
    """

    def __init__(
        self,
        cells: Mapping[str, CellSpace],
        channels: int,
        cells_per_stage: int,
        classes: int,
        alpha_scale: float = 1e-3,
        variant: SupernetOptions = DARTS_OPTIONS,
        in_channels: int = 3,
        stem: Callable[[int], Stem] | None = None,
        head: Head = LINEAR,
    ) -> None:
        begin = default_stem(in_channels, channels) if stem is None else stem(channels)
        super().__init__(cells, variant, alpha_scale, begin.reductions[1])
        sizes = {"channels": channels, "cells_per_stage": cells_per_stage, "classes": classes}
        self.sizes: dict[str, Any] = {**sizes, "in_channels": in_channels, "stem": stem, "head": head}
        self.stem = begin.build()
        self.draws |= begin.draws
        self.blocks = three_stages(
            channels, cells_per_stage, lambda width: MixedCell(cells["cell"], width, pool_norm=False, variant=variant)
        )
        self.last = nn.Sequential(BatchNorm2d(4 * channels), nn.ReLU())
        self.features, self.pooled = 4 * channels, head.pooled
        self.classifier = head.build(4 * channels, classes)

    def forward_prefix(self, x: Tensor, mixtures: Mixtures, layers: int) -> PartialForward:
        return self._run_layers(PartialForward(0, (CellOutput([both(self.stem(x))[1]]),)), mixtures, layers)

    def forward_suffix(self, partial: PartialForward, mixtures: Mixtures) -> Tensor:
        (last,) = self._run_layers(partial, mixtures, len(self.blocks)).outputs
        features = self.last(last.value)
        return cast(Tensor, self.classifier(features.mean(dim=(2, 3)) if self.pooled else features))

    def layers_before(self, cells: Collection[str]) -> int:
        return layers_until(isinstance(block, MixedCell) and block.space.name in cells for block in self.blocks)

    def _new_network(self, genotype: Genotype) -> NASBench201Network:
        return NASBench201Network(genotype, primitives=self.primitives, **self.sizes)

    def _counterparts(self, network: DiscreteNetwork) -> Pairs:
        assert isinstance(network, NASBench201Network)
        yield self.stem, network.stem
        yield from zip(self.blocks, network.blocks, strict=True)
        yield self.last, network.head
        yield self.classifier, network.classifier

    def _run_layers(self, partial: PartialForward, mixtures: Mixtures, layers: int) -> PartialForward:
        (output,) = partial.outputs
        for block in self.blocks[partial.layer : layers]:
            if isinstance(block, MixedCell):
                output = self._evaluate(block, [output.value], mixtures)
            else:
                output = CellOutput([block(output.value)])
        return PartialForward(layers, (output,))
