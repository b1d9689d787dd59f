"""What stands before the cells of a network and after them: its stem and its head.

One of a user's own is a class, or `{_target_: my_parts.MyStem, ARGUMENTS}` in a config. What it must do, which
`stem_for` and `check_head` try out on two images, docs/guides/stems_and_heads.md says to users.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from archselect.distributed.batch_norm import BatchNorm2d, convert_batch_norm
from archselect.models.trial import Trial, trying
from archselect.utils.validation import imported

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
        draws: Whether it draws random numbers in training.
    """

    build: Callable[[], nn.Module]
    channels: int
    reductions: tuple[int, int] = (1, 1)
    name: str | None = "conv3x3"
    draws: bool = False

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
        ValueError: There is no such stem, or one's own does not do what it must.
    """
    if choice == "imagenet":
        if channels % 2:
            raise ValueError(f"The stem 'imagenet' begins with half of C channels, so C must be even; got {channels}.")
        return Stem(partial(ImageNetStem, in_channels, channels), channels, REDUCTIONS["imagenet"], "imagenet")
    channels *= multiplier
    if choice == "conv3x3":
        return default_stem(in_channels, channels)
    build = partial(_built, "stem", choice, in_channels, channels)
    with trying():
        trial = _StemTrial(build, in_channels, channels, image_size)
        trial.check()
    return Stem(build, channels, trial.reductions, None, trial.draws)


def head_for(choice: Choice) -> Head:
    """Return the head `linear`, or one's own; a ValueError if there is no such head."""
    return LINEAR if choice == "linear" else Head(partial(_built, "head", choice), pooled=False)


def check_head(head: Head, channels: int, outputs: int, size: int) -> bool:
    """Return whether a head draws random numbers in training.

    Raises:
        ValueError: It is one's own and does not map `(B, channels, size, size)` to `(B, outputs)` as it must.
    """
    if head.pooled:
        return False
    with trying():
        trial = _HeadTrial(partial(head.build, channels, outputs), channels, outputs, size)
        trial.check()
    return trial.draws


class _StemTrial(Trial):
    """A stem, tried out; `reductions` is known after `check`."""

    passes_gradients = False

    def __init__(self, build: Callable[[], nn.Module], in_channels: int, channels: int, size: int) -> None:
        super().__init__("The stem", build, (2, in_channels, size, size))
        self.channels, self.reductions = channels, (1, 1)

    def check_shape(self, images: Tensor, output: Any) -> list[Tensor]:
        count, size = images.shape[0], images.shape[2]
        maps = list(output) if isinstance(output, tuple | list) else [output]
        is_one_or_pair = isinstance(output, Tensor) or len(maps) == 2
        if is_one_or_pair and all(isinstance(one, Tensor) and one.dim() == 4 for one in maps):
            sides = [one.shape[2] for one in maps]
            shapes = [(count, self.channels, side, side) for side in sides]
            whole = all(side > 0 and size % side == 0 for side in sides)
            if [tuple(one.shape) for one in maps] == shapes and whole and sides[0] in (sides[-1], 2 * sides[-1]):
                self.reductions = size // sides[0], size // sides[-1]
                return maps
        got = ", ".join(map(_described, maps))
        raise self.error(
            f"must map images {tuple(images.shape)} to a feature map ({count}, {self.channels}, {size}/r, {size}/r) "
            f"with a whole r, or to a pair of them, the first of which may be twice as high and wide; got "
            f"{got if is_one_or_pair else f'a {type(output).__name__} of {len(maps)}: {got}'}",
            "Correct its class",
        )


class _HeadTrial(Trial):
    """A head, tried out."""

    def __init__(self, build: Callable[[], nn.Module], channels: int, outputs: int, size: int) -> None:
        super().__init__("The head", build, (2, channels, size, size))
        self.outputs = outputs

    def check_shape(self, images: Tensor, output: Any) -> list[Tensor]:
        expected = (len(images), self.outputs)
        if not isinstance(output, Tensor) or tuple(output.shape) != expected:
            raise self.error(
                f"must map the last feature map {tuple(images.shape)} to outputs {expected}; got {_described(output)}",
                "Correct its class",
            )
        return [output]

    def may_start_at_zero(self, output: Tensor) -> bool:
        return torch.equal(output[0], output[1])  # the last layer of some begins with weights of zero


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
    convert_batch_norm(module)
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
    make: Callable[..., nn.Module] = imported(choice["_target_"], f"The {what} is said to be")
    return make, {str(name): value for name, value in choice.items() if name != "_target_"}


def _described(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"
