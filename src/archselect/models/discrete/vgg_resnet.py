"""Two hand-made networks that a supernet is compared with: layers in a chain, with or without a way around each.

Each has three stages, as wide as C, 2C and 4C, of images that are halved in between. A stage begins with a layer that
changes the shape; the layers after it have one and the same, so that they can be exchanged (DARTS-PT, Table 1; Veit et
al., NIPS 2016).
"""

from typing import Literal, cast

from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d
from archselect.models.discrete.network import DiscreteNetwork, check_sizes

ReferenceKind = Literal["vgg", "resnet"]
STAGES = 3


class PlainLayer(nn.Sequential):
    """Conv3x3, BN, ReLU (VGG, Simonyan and Zisserman, ICLR 2015, with batch normalisation)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), BatchNorm2d(outputs), nn.ReLU())


class ResidualLayer(nn.Module):
    """`ReLU(x + BN Conv3x3 ReLU BN Conv3x3 x)` (He et al., CVPR 2016, Fig. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            PlainLayer(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            BatchNorm2d(channels),
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, C, H, W)` for the same."""
        return self.relu(x + self.residual(x))


class ReferenceNetwork(DiscreteNetwork):
    """A VGG or a ResNet.

    Args:
        kind: `vgg`: a layer is Conv-BN-ReLU; `resnet`: two convolutions with a way around them.
        channels: Of the first stage.
        layers: Of equal shape in each stage, after the one that changes the shape.
        classes: Number of classes.
        in_channels: Of the images.
    """

    def __init__(self, kind: ReferenceKind, channels: int, layers: int, classes: int, in_channels: int = 3) -> None:
        super().__init__(in_channels)
        check_sizes(channels=channels, layers=layers, classes=classes)
        self.layers = layers
        widths = [channels * 2**stage for stage in range(STAGES)]
        entries = zip([in_channels, *widths[:-1]], widths, [1, 2, 2], strict=True)
        self.entries = nn.ModuleList(PlainLayer(before, width, stride) for before, width, stride in entries)
        self.stages = nn.ModuleList(
            nn.ModuleList(PlainLayer(width, width) if kind == "vgg" else ResidualLayer(width) for _ in range(layers))
            for width in widths
        )
        self.head = nn.Linear(widths[-1], classes)

    def swap_layers(self, stage: int, first: int, second: int) -> None:
        """Let two layers of a stage change places; the same again brings them back."""
        layers = cast(nn.ModuleList, self.stages[stage])
        layers[first], layers[second] = layers[second], layers[first]

    def _evaluate(self, x: Tensor, with_auxiliary: bool) -> tuple[Tensor, Tensor | None]:
        for entry, layers in zip(self.entries, self.stages, strict=True):
            x = entry(x)
            for layer in cast(nn.ModuleList, layers):
                x = layer(x)
        return self.head(x.mean(dim=(2, 3))), None
