"""The network that DARTS, S1-S4 and their kin retrain: stem, cells, auxiliary head (DARTS, sec. 3.1 and appendix)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.genotype import CellGenotype, Genotype
from archselect.models.cell_space import CellTopology
from archselect.models.discrete.network import DiscreteCell, DiscreteNetwork, require_at_least, require_topology
from archselect.models.ops import FactorizedReduce, ReLUConvBN


class SmallImageStem(nn.Module):
    """Conv3x3 and BN; both inputs of the first cell are its output (CIFAR-10 and images like those)."""

    reduction = 1
    """By how much the resolution is divided."""

    def __init__(self, channels: int, multiplier: int) -> None:
        super().__init__()
        self.out_channels = multiplier * channels
        self.last_reduces = False
        self.layers = nn.Sequential(
            nn.Conv2d(3, self.out_channels, 3, padding=1, bias=False), BatchNorm2d(self.out_channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.layers(x)
        return out, out


class ImageNetStem(nn.Module):
    """Three Conv3x3 of stride 2; the first cell takes what is before and what is after the third (DARTS, ImageNet)."""

    reduction = 8
    """By how much the resolution is divided."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 2:
            raise ValueError(
                f"The ImageNet stem begins with half of the channels, so their number is even; got {channels}."
            )
        self.out_channels = channels
        self.last_reduces = True
        self.first = nn.Sequential(
            nn.Conv2d(3, channels // 2, 3, stride=2, padding=1, bias=False),
            BatchNorm2d(channels // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False),
            BatchNorm2d(channels),
        )
        self.second = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
            BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.first(x)
        return out, self.second(out)


_OFFICIAL_STRIDES = {8: 3, 7: 2}


class AuxiliaryHead(nn.Module):
    """ReLU, pooling to 2x2, Conv1x1 to 128, BN, ReLU, Conv2x2 to 768, BN, ReLU, linear.

    Maps features `(B, C, H, W)` to logits `(B, classes)`.

    The official head averages windows of 5x5, three pixels apart where features measure 8x8 (CIFAR), two where they
    measure 7x7 (ImageNet); that leaves 2x2. Features of other sizes, which it does not take, are pooled adaptively.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            BatchNorm2d(768),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(768, classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        return self.layers(_pooled_to_2x2(F.relu(features)))


def _pooled_to_2x2(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    if height == width and height in _OFFICIAL_STRIDES:
        return F.avg_pool2d(x, 5, stride=_OFFICIAL_STRIDES[height])
    return F.adaptive_avg_pool2d(x, 2)


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
