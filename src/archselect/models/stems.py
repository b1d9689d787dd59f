"""What stands before the cells of a network and after them: its stem and its head.

One of a user's own is a class, or `{_target_: my_parts.MyStem, ARGUMENTS}` in a config. What it must do, which
`stem_for` and `check_head` try out on PyTorch's device meta, docs/guides/stems_and_heads.md says to users.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d

Choice = str | Mapping[str, Any] | Callable[..., nn.Module]
"""A stem or head: one of the package's by its name, or one's own."""

REDUCTIONS = {"conv3x3": (1, 1), "imagenet": (4, 8)}
"""The package's stems: by what the two feature maps that the first cell reads are smaller than the image."""


@dataclass(frozen=True)
class Stem:
    """The stem of a network.

    Attributes:
        build: Makes it; it gives one feature map, or a pair of them.
        channels: Of each.
        reductions: By what the two inputs of the first cell are smaller than the image; twice the same for one map.
        name: Of the choice, where it is the package's.
    """

    build: Callable[[], nn.Module]
    channels: int
    reductions: tuple[int, int] = (1, 1)
    name: str | None = "conv3x3"

    @property
    def halves(self) -> bool:
        """Whether the first input of the first cell is twice as high and wide as the second."""
        return self.reductions[0] != self.reductions[1]


@dataclass(frozen=True)
class Head:
    """What makes the outputs.

    Attributes:
        build: Makes it, of the channels of the last feature map and the number of outputs.
        pooled: Whether it takes the mean of each channel `(B, C)`, or else the feature map `(B, C, H, W)`.
    """

    build: Callable[[int, int], nn.Module] = nn.Linear
    pooled: bool = True


LINEAR = Head()
"""Global average pooling and a linear layer, of all published networks of the search spaces."""


def conv3x3(in_channels: int, channels: int) -> nn.Sequential:
    """Return the stem of DARTS on CIFAR-10 and of NAS-Bench-201, Conv3x3 and BN, which keeps height and width."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), BatchNorm2d(channels))


def default_stem(in_channels: int, channels: int) -> Stem:
    """Return the stem `conv3x3` of so many channels."""
    return Stem(partial(conv3x3, in_channels, channels), channels)


class ImageNetStem(nn.Module):
    """The stem of DARTS on ImageNet: three Conv3x3 of stride 2, as many reductions before the first cell.

    Maps `(B, in_channels, H, W)` to `(B, channels, H/4, W/4)` and `(B, channels, H/8, W/8)`. Source: `NetworkImageNet`
    in cnn/model.py of the authors' code.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.quarter = nn.Sequential(
            nn.Conv2d(in_channels, half, 3, stride=2, padding=1, bias=False),
            BatchNorm2d(half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, channels, 3, stride=2, padding=1, bias=False),
            BatchNorm2d(channels),
        )
        self.eighth = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False), BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        quarter = self.quarter(x)
        return quarter, self.eighth(quarter)


def both(features: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the two inputs of the first cell, given what a stem gave."""
    return (features, features) if isinstance(features, Tensor) else (features[0], features[1])


def stem_for(choice: Choice, in_channels: int, channels: int, multiplier: int, image_size: int) -> Stem:
    """Return the stem of a network.

    Args:
        choice: `conv3x3` of `multiplier * channels`, `imagenet` of `channels`, or one's own of as many as the first.
        in_channels: Of the images.
        channels: C of the first cell.
        multiplier: Channels of the stem as a multiple of C.
        image_size: Height and width of the images.

    Raises:
        ValueError: There is no such stem, or one's own does not do what it must; nothing is computed.
    """
    if choice == "imagenet":
        if channels % 2:
            raise ValueError(f"The stem 'imagenet' begins with half of C channels, so C must be even; got {channels}.")
        return Stem(partial(ImageNetStem, in_channels, channels), channels, REDUCTIONS["imagenet"], "imagenet")
    channels *= multiplier
    if choice == "conv3x3":
        return default_stem(in_channels, channels)
    build = partial(_built, "stem", choice, in_channels, channels)
    return Stem(build, channels, _reductions(build, in_channels, channels, image_size), None)


def head_for(choice: Choice) -> Head:
    """Return the head `linear`, or one's own; a ValueError if there is no such head."""
    return LINEAR if choice == "linear" else Head(partial(_built, "head", choice), pooled=False)


def check_head(head: Head, channels: int, outputs: int, size: int) -> None:
    """Raise a ValueError unless a head maps `(B, channels, size, size)` to `(B, outputs)`; nothing is computed."""
    if not head.pooled:
        found = _tried("head", partial(head.build, channels, outputs), (2, channels, size, size))
        if not isinstance(found, Tensor) or tuple(found.shape) != (2, outputs):
            raise ValueError(
                f"The head must map the last feature map (2, {channels}, {size}, {size}) to outputs (2, {outputs}); "
                f"got {_described(found)}. Correct its class."
            )


def _reductions(build: Callable[[], nn.Module], in_channels: int, channels: int, size: int) -> tuple[int, int]:
    """Return by what the feature maps of one's own stem are smaller than the images."""
    found = _tried("stem", build, (2, in_channels, size, size))
    maps = list(found) if isinstance(found, tuple | list) else [found]
    if 1 <= len(maps) <= 2 and all(isinstance(one, Tensor) and one.dim() == 4 for one in maps):
        sides = [one.shape[2] for one in maps]
        fits = all(tuple(one.shape) == (2, channels, side, side) for one, side in zip(maps, sides, strict=True))
        if fits and all(side > 0 and size % side == 0 for side in sides) and sides[0] in (sides[-1], 2 * sides[-1]):
            return size // sides[0], size // sides[-1]
    raise ValueError(
        f"The stem must map images (2, {in_channels}, {size}, {size}) to a feature map (2, {channels}, {size}/r, "
        f"{size}/r) with a whole r, or to a pair of them, the first of which may be twice as high and wide; got "
        f"{', '.join(map(_described, maps))}. Correct its class."
    )


def _built(what: str, choice: Choice, first: int, second: int) -> nn.Module:
    """Build a stem or head of a user's own of two numbers of channels, as `Class(first, second, ARGUMENTS)`."""
    make, arguments = _definition(what, choice)
    name = f"{getattr(make, '__module__', '')}.{getattr(make, '__qualname__', make)}"
    try:
        module = make(first, second, **arguments)
    except Exception as error:
        takes = "in_channels and channels" if what == "stem" else "channels and the number of outputs"
        raise ValueError(
            f"The {what} cannot be built as {name}({first}, {second}): {type(error).__name__}: {error}. It must take "
            f"{takes}, besides the arguments in its definition."
        ) from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"The {what} {name} must give a torch.nn.Module; got a {type(module).__name__}.")
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = BatchNorm2d  # whose statistics are those of all processes
    return module


def _definition(what: str, choice: Choice) -> tuple[Callable[..., nn.Module], dict[str, Any]]:
    """Return what makes one's own stem or head, and its arguments; imports its module."""
    names = ("conv3x3", "imagenet") if what == "stem" else ("linear",)
    if callable(choice):
        return choice, {}
    if not isinstance(choice, Mapping) or not isinstance(choice.get("_target_"), str):
        raise ValueError(
            f"The {what} must be {' or '.join(names)}, or one of your own as {{_target_: my_module.MyClass}}; got "
            f"{choice!r}."
        )
    module, _, attribute = choice["_target_"].rpartition(".")
    try:
        make: Callable[..., nn.Module] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"The {what} is said to be {choice['_target_']!r}, which cannot be imported ({error}). _target_ must be "
            "MODULE.CLASS of a file that Python finds: in the folder you are in, or in one on PYTHONPATH."
        ) from error
    return make, {str(name): value for name, value in choice.items() if name != "_target_"}


def _tried(what: str, build: Callable[[], nn.Module], shape: tuple[int, ...]) -> Any:
    """Return what a module gives for an input of a shape, without memory or values."""
    with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.device("meta"):
        module = build().eval()
        try:
            return module(torch.empty(shape))
        except Exception as error:
            raise ValueError(
                f"The {what} must take {shape}, on PyTorch's device meta too; it raises {type(error).__name__}: "
                f"{str(error).rstrip('.')}. Correct its forward; tensors that it makes belong on the input's device."
            ) from error


def _described(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"
