"""The network that DARTS, S1-S4 and their kin retrain: stem, cells, auxiliary head (DARTS, sec. 3.1 and appendix)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.genotype import CellGenotype, Genotype
from archselect.models.discrete.network import DiscreteCell, DiscreteNetwork, check_cells, check_sizes
from archselect.models.ops import preprocessing
from archselect.models.ops.primitives import PRIMITIVES, Primitives
from archselect.models.stems import LINEAR, Head, Stem, both, default_stem


class AuxiliaryHead(nn.Module):
    """ReLU, pooling to 2x2, Conv1x1 to 128, BN, ReLU, Conv2x2 to 768, BN, ReLU, linear.

    Maps features `(B, C, H, W)` to logits `(B, classes)`. That of ImageNet has no second BN, which the authors left
    out by mistake and kept out (cnn/model.py).

    The official head averages windows of 5x5, three pixels apart where features measure 8x8 (CIFAR), two where they
    measure 7x7 (ImageNet); that leaves 2x2. Features of other sizes, which it does not take, are pooled adaptively.
    """

    def __init__(self, channels: int, classes: int, of_imagenet: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            BatchNorm2d(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            *([] if of_imagenet else [BatchNorm2d(768)]),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(768, classes),
        )

    def forward(self, features: Tensor) -> Tensor:
        x = F.relu(features)
        height, width = x.shape[-2:]
        stride = {(8, 8): 3, (7, 7): 2}.get((height, width))
        return self.layers(F.adaptive_avg_pool2d(x, 2) if stride is None else F.avg_pool2d(x, 5, stride))


class DartsCell(nn.Module):
    """Two inputs brought to the cell's channels and resolution, the nodes, and the concatenation of all nodes.

    Args:
        genotype: Of this cell.
        inputs: Channels of the outputs of the cell before the previous one, and of the previous one.
        channels: Of every node.
        stride: 2 for a reduction cell.
        previous_reduces: Whether the previous cell is a reduction, so that the one before it is wider in space.
        primitives: The operations that there are.
    """

    def __init__(
        self,
        genotype: CellGenotype,
        inputs: tuple[int, int],
        channels: int,
        stride: int,
        previous_reduces: bool,
        primitives: Primitives = PRIMITIVES,
    ) -> None:
        super().__init__()
        self.preprocess_before_previous = preprocessing(inputs[0], channels, previous_reduces)
        self.preprocess_previous = preprocessing(inputs[1], channels)
        self.cell = DiscreteCell(genotype, channels, stride, primitives)

    def forward(self, before_previous: Tensor, previous: Tensor, drop_path_probability: float) -> Tensor:
        inputs = (self.preprocess_before_previous(before_previous), self.preprocess_previous(previous))
        return torch.cat(self.cell(inputs, drop_path_probability), dim=1)


class DartsNetwork(DiscreteNetwork):
    """Stem, normal cells with reduction cells at a third and two thirds of the depth, head.

    Weights for 36 channels, 20 layers and 10 classes, without the auxiliary head: DARTS_V1 3,169,414, DARTS_V2
    3,349,342, darts_pt_s5_3 3,328,174.

    Args:
        genotype: A "normal" and a "reduction" cell of two inputs; a cell's output is the concatenation of its nodes.
        channels: `C` of the first cells; each reduction cell doubles them.
        layers: Number of cells, at least 2; the cells `layers // 3` and `2 * layers // 3` are reductions.
        classes: Number of classes.
        stem_multiplier: Channels of the stem (Conv3x3 and BN), as a multiple of `channels`.
        auxiliary: Whether there is an auxiliary head, after the second reduction.
        in_channels: Of the images.
        stem: Of C; None: Conv3x3 and BN, of `stem_multiplier * C` channels.
        head: Makes the outputs.
        primitives: The operations that there are: those of the genotype's search space.
    """

    def __init__(
        self,
        genotype: Genotype,
        channels: int,
        layers: int,
        classes: int,
        stem_multiplier: int = 3,
        auxiliary: bool = False,
        in_channels: int = 3,
        stem: Callable[[int], Stem] | None = None,
        head: Head = LINEAR,
        primitives: Primitives = PRIMITIVES,
    ) -> None:
        check_cells(genotype, ["normal", "reduction"], inputs=2)
        check_sizes(channels=channels, layers=layers, classes=classes, stem_multiplier=stem_multiplier)
        if layers < 2:
            raise ValueError(f"The layers of a network must be 2 or more, for its two reductions; got {layers}.")
        begin = default_stem(in_channels, stem_multiplier * channels) if stem is None else stem(channels)
        super().__init__(in_channels, begin.reductions[1])
        before_previous = previous = begin.channels
        self.stem = begin.build()
        reductions = (layers // 3, 2 * layers // 3)
        previous_reduces = begin.halves
        self.cells = nn.ModuleList()
        for layer in range(layers):
            reduces = layer in reductions
            stride = 2 if reduces else 1
            channels *= stride
            cell = genotype.cell("reduction" if reduces else "normal")
            inputs = (before_previous, previous)
            self.cells.append(DartsCell(cell, inputs, channels, stride, previous_reduces, primitives))
            before_previous, previous, previous_reduces = previous, channels * len(cell.nodes), reduces
            if layer == reductions[1] and auxiliary:
                self.auxiliary = AuxiliaryHead(previous, classes, begin.name == "imagenet")
        self.auxiliary_layer = reductions[1]
        self.features, self.pooled = previous, head.pooled
        self.classifier = head.build(previous, classes)

    def _evaluate(self, x: Tensor, with_auxiliary: bool) -> tuple[Tensor, Tensor | None]:
        probability = self._active_drop_path_probability()
        auxiliary_logits = None
        before_previous, previous = both(self.stem(x))
        for layer, cell in enumerate(self.cells):
            before_previous, previous = previous, cell(before_previous, previous, probability)
            if layer == self.auxiliary_layer and with_auxiliary and self.auxiliary is not None:
                auxiliary_logits = self.auxiliary(previous)
        return self.classifier(previous.mean(dim=(2, 3)) if self.pooled else previous), auxiliary_logits
