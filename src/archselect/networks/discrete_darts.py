"""The network that DARTS, S1-S4 and their kin retrain."""

from typing import Literal

import torch
from torch import Tensor, nn

from archselect.genotype import CellGenotype, Genotype
from archselect.networks.auxiliary import AuxiliaryHead
from archselect.networks.discrete import DiscreteNetwork, require_at_least, require_topology
from archselect.networks.discrete_cell import DiscreteCell
from archselect.networks.stems import ImageNetStem, SmallImageStem
from archselect.networks.topology import CellTopology
from archselect.operations import FactorizedReduce, ReLUConvBN


class DartsCell(nn.Module):
    """Two inputs brought to the cell's channels and resolution, the nodes, and the concatenation of all nodes.

    Args:
        genotype: Of this cell.
        before_previous: Channels of the output of the cell before the previous one.
        previous: Channels of the previous cell's output.
        channels: Of every node.
        stride: 2 for a reduction cell.
        previous_reduces: Whether the previous cell is a reduction, so that the one before it is wider in space.
    """

    def __init__(
        self,
        genotype: CellGenotype,
        before_previous: int,
        previous: int,
        channels: int,
        stride: int,
        previous_reduces: bool,
    ) -> None:
        super().__init__()
        self.preprocess_before_previous = (
            FactorizedReduce(before_previous, channels)
            if previous_reduces
            else ReLUConvBN(before_previous, channels, 1, 1, 0)
        )
        self.preprocess_previous = ReLUConvBN(previous, channels, 1, 1, 0)
        self.cell = DiscreteCell(genotype, channels, stride)

    def forward(self, before_previous: Tensor, previous: Tensor, drop_path_probability: float) -> Tensor:
        inputs = (self.preprocess_before_previous(before_previous), self.preprocess_previous(previous))
        return torch.cat(self.cell(inputs, drop_path_probability), dim=1)


class DartsNetwork(DiscreteNetwork):
    """Stem, normal cells with reduction cells at a third and two thirds of the depth, global average pool, linear.

    Weights for 36 channels, 20 layers and 10 classes, without the auxiliary head: DARTS_V1 3,169,414, DARTS_V2
    3,349,342, darts_pt_s5_3 3,328,174. DARTS_V2 for ImageNet (48 channels, 14 layers, 1000 classes): 4,718,752.

    Args:
        genotype: A "normal" and a "reduction" cell; each node reads the inputs the genotype gives it, however many.
        topology: Of these cells: two inputs, the output the concatenation of the nodes.
        channels: `C` of the first cells; each reduction cell doubles them.
        layers: Number of cells, at least 2; the cells `layers // 3` and `2 * layers // 3` are reductions.
        classes: Number of classes.
        image_size: Height and width of the images, at least 4 (32 with the ImageNet stem).
        stem_multiplier: Channels of the small stem, as a multiple of `channels`.
        auxiliary: Whether there is an auxiliary head, after the second reduction.
        stem: "small" keeps the resolution; "imagenet" divides it by 8, as DARTS does at 224 pixels.
    """

    def __init__(
        self,
        genotype: Genotype,
        topology: CellTopology,
        channels: int,
        layers: int,
        classes: int,
        image_size: int,
        stem_multiplier: int = 3,
        auxiliary: bool = False,
        stem: Literal["small", "imagenet"] = "small",
    ) -> None:
        require_topology(genotype, topology, ("normal", "reduction"), inputs=2, output="concat")
        require_at_least(1, channels=channels, stem_multiplier=stem_multiplier)
        require_at_least(2, layers=layers)
        if stem not in ("small", "imagenet"):
            raise ValueError(f"The stem is 'small' or 'imagenet'; got {stem!r}.")
        stem_reduction = SmallImageStem.reduction if stem == "small" else ImageNetStem.reduction
        super().__init__(classes, smallest_image_size=4 * stem_reduction)
        self._require_image_size(image_size)
        self.stem = SmallImageStem(channels, stem_multiplier) if stem == "small" else ImageNetStem(channels)
        reductions = (layers // 3, 2 * layers // 3)
        before_previous = previous = self.stem.out_channels
        previous_reduces = self.stem.last_reduces
        self.cells = nn.ModuleList()
        for layer in range(layers):
            reduces = layer in reductions
            channels *= 2 if reduces else 1
            cell = genotype.cell("reduction" if reduces else "normal")
            stride = 2 if reduces else 1
            self.cells.append(DartsCell(cell, before_previous, previous, channels, stride, previous_reduces))
            before_previous, previous, previous_reduces = previous, channels * topology.nodes, reduces
            if layer == reductions[1] and auxiliary:
                self.auxiliary = AuxiliaryHead(previous, classes)
        self.auxiliary_layer = reductions[1]
        self.classifier = nn.Linear(previous, classes)

    def _evaluate(self, x: Tensor, with_auxiliary: bool) -> tuple[Tensor, Tensor | None]:
        probability = self._active_drop_path_probability()
        auxiliary_logits = None
        before_previous, previous = self.stem(x)
        for layer, cell in enumerate(self.cells):
            before_previous, previous = previous, cell(before_previous, previous, probability)
            if layer == self.auxiliary_layer and with_auxiliary and self.auxiliary is not None:
                auxiliary_logits = self.auxiliary(previous)
        return self.classifier(previous.mean(dim=(2, 3))), auxiliary_logits
