"""The supernet of DARTS and S1-S4."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from archselect import kernels
from archselect.distributed.batch_norm import BatchNorm2d
from archselect.genotype import Genotype
from archselect.models.cell_space import CellSpace
from archselect.models.discrete.darts import DartsCell, DartsNetwork
from archselect.models.discrete.network import DiscreteNetwork
from archselect.models.ops import FactorizedReduce, ReLUConvBN, preprocessing
from archselect.models.stems import LINEAR, Head, Stem, default_stem
from archselect.models.supernet.inheritance import Pairs
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixed_ops import CellOutput
from archselect.models.supernet.relaxation import DARTS_OPTIONS, SupernetOptions
from archselect.models.supernet.supernet import Mixtures, PartialForward, Supernet, layers_until


class DartsSupernet(Supernet):
    """The supernet of DARTS and S1-S4: cells of two inputs, reduction cells at a third and two thirds of the depth.

    Args:
        cells: The `normal` and the `reduction` cell.
        channels: C of the first cells; doubled by each reduction.
        layers: Number of cells.
        classes: Number of classes.
        stem_multiplier: Channels of the stem as a multiple of C.
        alpha_scale: As of `Supernet`.
        variant: As of `Supernet`.
        in_channels: Of the images.
        stem: As of `DartsNetwork`, as is `head`.
    """

    def __init__(
        self,
        cells: Mapping[str, CellSpace],
        channels: int,
        layers: int,
        classes: int,
        stem_multiplier: int = 3,
        alpha_scale: float = 1e-3,
        variant: SupernetOptions = DARTS_OPTIONS,
        in_channels: int = 3,
        stem: Callable[[int], Stem] | None = None,
        head: Head = LINEAR,
    ) -> None:
        begin = default_stem(in_channels, stem_multiplier * channels) if stem is None else stem(channels)
        super().__init__(cells, variant, alpha_scale, begin.reductions[1])
        sizes = {"channels": channels, "layers": layers, "classes": classes, "stem_multiplier": stem_multiplier}
        self.sizes: dict[str, Any] = {**sizes, "in_channels": in_channels, "stem": stem, "head": head}
        self.stem = begin.build()
        self.draws |= begin.draws
        self.preprocess = nn.ModuleList()
        self.cells = nn.ModuleList()
        before_previous, previous, reduced = begin.channels, begin.channels, begin.halves
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            first = preprocessing(before_previous, channels, reduced, affine=False)
            self.preprocess.append(nn.ModuleList([first, preprocessing(previous, channels, affine=False)]))
            space = cells["reduction" if reduction else "normal"]
            self.cells.append(MixedCell(space, channels, stride=2 if reduction else 1, variant=variant))
            before_previous, previous, reduced = previous, space.topology.nodes * channels, reduction
        self.features, self.pooled = previous, head.pooled
        self.classifier = head.build(previous, classes)

    def forward_prefix(self, x: Tensor, mixtures: Mixtures, layers: int) -> PartialForward:
        features = self.stem(x)
        inputs = (CellOutput([features]),) * 2 if isinstance(features, Tensor) else tuple(map(_output, features))
        return self._run_layers(PartialForward(0, inputs), mixtures, layers)

    def forward_suffix(self, partial: PartialForward, mixtures: Mixtures) -> Tensor:
        _, last = self._run_layers(partial, mixtures, len(self.cells)).outputs
        if not self.pooled:
            return cast(Tensor, self.classifier(last.value))
        features = [part.mean(dim=(2, 3)) for part in last.parts]
        return cast(Tensor, self.classifier(torch.cat(features, dim=1)))

    def layers_before(self, cells: Collection[str]) -> int:
        return layers_until(cast(MixedCell, cell).space.name in cells for cell in self.cells)

    def _new_network(self, genotype: Genotype) -> DartsNetwork:
        return DartsNetwork(genotype, primitives=self.primitives, **self.sizes)

    def _counterparts(self, network: DiscreteNetwork) -> Pairs:
        assert isinstance(network, DartsNetwork)
        yield self.stem, network.stem
        for cell, inputs, plain in zip(self.cells, self.preprocess, network.cells, strict=True):
            assert isinstance(plain, DartsCell)
            first, second = cast(nn.ModuleList, inputs)
            yield first, plain.preprocess_before_previous
            yield second, plain.preprocess_previous
            yield cell, plain.cell
        yield self.classifier, network.classifier

    def _run_layers(self, partial: PartialForward, mixtures: Mixtures, layers: int) -> PartialForward:
        before_previous, previous = partial.outputs
        for layer in range(partial.layer, layers):
            first, second = cast(nn.ModuleList, self.preprocess[layer])
            inputs = (_preprocess(first, before_previous), _preprocess(second, previous))
            output = self._evaluate(cast(MixedCell, self.cells[layer]), inputs, mixtures)
            before_previous, previous = previous, output
        return PartialForward(layers, (before_previous, previous))


def _output(features: Tensor) -> CellOutput:
    return CellOutput([features])


def _preprocess(module: nn.Module, output: CellOutput) -> Tensor:
    """Return `module(output.value)`; by compiled loops from the parts of the output, which are never concatenated."""
    out = None
    if kernels.is_available(*output.parts) and kernels.untouched(module, (FactorizedReduce, ReLUConvBN)):
        if isinstance(module, FactorizedReduce):
            if kernels.made_of(module, nn.Conv2d, nn.Conv2d, BatchNorm2d):
                out = kernels.preprocess(output.parts, [module.first, module.second], module.norm)
        elif kernels.made_of(module, nn.ReLU, nn.Conv2d, BatchNorm2d) and module.subsampling == 1:
            _, convolution, norm = cast(tuple[nn.ReLU, nn.Conv2d, BatchNorm2d], tuple(cast(ReLUConvBN, module)))
            out = kernels.preprocess(output.parts, [convolution], norm)
    return cast(Tensor, module(output.value)) if out is None else out
