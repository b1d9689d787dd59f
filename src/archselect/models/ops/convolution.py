"""Convolutions as the search spaces know them: activation first, batch normalisation last.

The ReLU that reads a state is never in place: other edges read the same state.
"""

from typing import cast

from torch import Tensor, nn

from archselect import kernels
from archselect.distributed.batch_norm import BatchNorm2d


def subsampled(x: Tensor, stride: int) -> Tensor:
    """Return the pixels `(B, C, ceil(H / stride), ceil(W / stride))` that a 1x1 convolution of this stride reads.

    All such convolutions of the package are of stride 1 on these. Equal, and safe: PyTorch 2.13 to 2.14.1 write beyond
    their memory in the backward pass of a 1x1 convolution of stride 2 on a CPU with AVX-512, where images are in
    channels_last, have fewer than 16 channels and measure 64 pixels or more.
    """
    return x if stride == 1 else x[:, :, ::stride, ::stride]


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution, batch normalisation."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, padding: int, affine: bool = True
    ) -> None:
        subsampling, stride = (stride, 1) if kernel == 1 else (1, stride)
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False),
            BatchNorm2d(out_channels, affine=affine),
        )
        self.subsampling = subsampling

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, out_channels, H', W')`."""
        x = subsampled(x, self.subsampling)
        if not (kernels.is_available(x) and kernels.made_of(self, nn.ReLU, nn.Conv2d, BatchNorm2d)):
            return cast(Tensor, super().forward(x))
        _, convolution, norm = cast(tuple[nn.ReLU, nn.Conv2d, BatchNorm2d], tuple(self))
        batch = kernels.norm_mode([norm])
        if batch is None or not kernels.keeps_size(convolution, kernels.DENSE_KERNELS):
            return cast(Tensor, super().forward(x))
        stage = kernels.Convolution(None, convolution.weight, kernels.running(norm), affine=kernels.affine(norm))
        return kernels.convolve(x, (stage,), convolution.stride[0], batch)


Stage = tuple[nn.ReLU, nn.Conv2d, nn.Conv2d, BatchNorm2d]


class Separable(nn.Sequential):
    """Once or several times ReLU, depthwise convolution, pointwise convolution, batch normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        """Return `(B, C, ceil(H / stride), ceil(W / stride))`."""
        if not kernels.is_available(x):
            return cast(Tensor, super().forward(x))
        stages = self._stages()
        batch = kernels.norm_mode(norm for _, _, _, norm in stages)
        if not stages or batch is None:
            return cast(Tensor, super().forward(x))
        first = stages[0][1]
        return kernels.convolve(x, tuple(map(_for_loops, stages)), first.stride[0], batch)

    def _stages(self) -> list[Stage]:
        """Return the stages; none if the children are others than the loops compute."""
        if not kernels.made_of(self, *(nn.ReLU, nn.Conv2d, nn.Conv2d, BatchNorm2d) * (len(self) // 4)):
            return []
        children = tuple(self)
        stages = [cast(Stage, children[start : start + 4]) for start in range(0, len(children), 4)]
        keep_size = all(depthwise.stride == (1, 1) for _, depthwise, _, _ in stages[1:])
        return stages if len(stages) <= 2 and keep_size and all(map(_is_separable, stages)) else []


def _is_separable(stage: Stage) -> bool:
    _, depthwise, pointwise, _ = stage
    return (
        kernels.keeps_size(depthwise, kernels.SEPARABLE_KERNELS, depthwise=True)
        and kernels.keeps_size(pointwise, sides=(1,))
        and pointwise.stride == (1, 1)
    )


def _for_loops(stage: Stage) -> kernels.Convolution:
    _, depthwise, pointwise, norm = stage
    running, affine = kernels.running(norm), kernels.affine(norm)
    return kernels.Convolution(depthwise.weight, pointwise.weight, running, depthwise.dilation[0], affine)


class SepConv(Separable):
    """Twice (ReLU, depthwise convolution, pointwise convolution, batch normalisation); the stride is in the first."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            *_separable(channels, kernel, stride, dilation=1, affine=affine),
            nn.ReLU(inplace=True),
            *_separable(channels, kernel, stride=1, dilation=1, affine=affine),
        )


class DilConv(Separable):
    """ReLU, depthwise convolution with dilation 2, pointwise convolution, batch normalisation."""

    def __init__(self, channels: int, kernel: int, stride: int, affine: bool = True) -> None:
        super().__init__(nn.ReLU(), *_separable(channels, kernel, stride, dilation=2, affine=affine))


def _separable(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> tuple[nn.Module, ...]:
    padding = dilation * (kernel - 1) // 2
    depthwise = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
    pointwise = nn.Conv2d(channels, channels, 1, bias=False)
    return depthwise, pointwise, BatchNorm2d(channels, affine=affine)
