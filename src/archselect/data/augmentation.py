"""Augmentation and normalisation as batched tensor operations on images that stay on the device.

The random numbers of a whole epoch are drawn at once on the CPU, so they are the same on every device; they are moved
there as one integer tensor. Crop and flip only choose which pixels are read, so together they are one gather.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from archselect.data.color_jitter import STEPS, ColorJitter
from archselect.utils.validation import NonNegativeInt, check_fields

Crop = Literal["padded", "resized"]


@dataclass(frozen=True)
class Normalisation:
    """Channel statistics of images whose values lie between 0 and 1: an image becomes `(image - mean) / std`.

    Attributes:
        mean: One number per channel, as are `std`.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            is_list = isinstance(values, Sequence) and not isinstance(values, str) and len(values) > 0
            if not is_list or not all(type(value) in (int, float) for value in values):
                raise ValueError(f"Expected a list of numbers in data.{name}, one per channel, got {values!r}.")
            object.__setattr__(self, name, tuple(map(float, values)))
        if len(self.mean) != len(self.std):
            told = f"{len(self.mean)} in data.mean and {len(self.std)} in data.std"
            raise ValueError(f"Expected one number per channel in data.mean and in data.std, got {told}.")
        if not all(0 <= value <= 1 for value in self.mean):  # NaN lies nowhere
            raise ValueError(f"Expected each number in data.mean to lie between 0 and 1, {_unit(self.mean)}")
        if not all(0 < value <= 1 for value in self.std):
            raise ValueError(f"Expected each number in data.std to lie above 0 and at most at 1, {_unit(self.std)}")

    @staticmethod
    def pixel_counts(images: Tensor) -> Tensor:
        """Return how many pixels of images `(N, C, H, W)`, uint8, have each value in each channel: `(C, 256)`."""
        return torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])

    @classmethod
    def measured(cls, counts: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> "Normalisation":
        """Return the statistics of all pixels, counted by `pixel_counts`, where they are not given.

        They are sums over whole numbers, rounded to four digits: the same on every machine, and can be typed.

        Raises:
            ValueError: All pixels of a channel have one value.
        """
        values = torch.arange(256, dtype=torch.float64) / 255
        shares = counts.double() / counts.sum(dim=1, keepdim=True)  # (C, 256)
        means = shares @ values
        deviations = (shares * (values - means[:, None]).square()).sum(dim=1).sqrt()
        digits = [[round(value, 4) for value in numbers.tolist()] for numbers in (means, deviations)]
        if std is None and not all(digits[1]):
            raise ValueError(
                f"The training images have one value in a whole channel: their standard deviations are {digits[1]}, "
                "by which images cannot be divided. Say by what instead: data.std=[...], for example with 1 there."
            )
        return cls(digits[0] if mean is None else mean, digits[1] if std is None else std)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return `(C,)` tensors with `(x / 255 - mean) / std == x * scale + shift`."""
        mean, std = torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.std, dtype=torch.float64)
        return (1 / (255 * std)).float(), (-mean / std).float()


def _unit(values: Sequence[float]) -> str:
    """Return the end of a sentence on numbers that are not in the unit of `Normalisation`."""
    told = f"for pixels whose values are between 0 and 1; got {list(values)}."
    if max(values) > 1 and all(0 <= value <= 255 for value in values):
        told += f" In that unit 0 to 255 is {[round(value / 255, 4) for value in values]}."
    return told


@dataclass(frozen=True)
class Augmentation:
    """Random crop, random horizontal flip, changes of colour, and cutout.

    Attributes:
        pad: Pixels of zeros added on each side before the crop; 0 for no crop.
        flip: Whether half of the images are mirrored.
        cutout: Side of the square that is set to zero after normalisation (DeVries and Taylor 2017, arXiv 1708.04552).
            Its centre is uniform over the image, so that it may stick out over the border. 0 for no cutout.
        crop: What is cropped: the image padded by `pad`, or, `resized`, a part of the image at its own size, which is
            cut out where it is decoded (`data.pixels`) and takes no `pad`.
        color_jitter: How colours are changed, after crop and flip; None: not at all.
    """

    pad: NonNegativeInt = 4
    flip: bool = True
    cutout: NonNegativeInt = 0
    crop: Crop = "padded"
    color_jitter: ColorJitter | None = None

    def __post_init__(self) -> None:
        check_fields(self, "data")
        if self.crop == "resized" and self.pad:
            raise ValueError(f"A random resized crop takes no padding, but pad is {self.pad}. Expected pad=0.")

    def check(self, height: int, width: int) -> None:
        """Refuse a cutout that is larger than an image of `height` x `width` pixels."""
        if self.cutout > min(height, width):
            raise ValueError(
                f"A cutout of {self.cutout} pixels is larger than the images, {height} x {width}. "
                "Choose a smaller one, for instance half of the image, or 0."
            )

    def padded(self, images: Tensor) -> Tensor:
        """Pad images `(N, H, W, C)` with zeros to `(N, H + 2 pad, W + 2 pad, C)`."""
        return functional.pad(images, (0, 0, self.pad, self.pad, self.pad, self.pad)) if self.pad else images

    def draw(self, count: int, height: int, width: int, generator: Generator) -> Tensor:
        """Draw what happens to each of `count` images.

        Returns:
            `(count, 5)`, int64: first row and first column of the crop in the padded image, 1 for a flip, and row and
            column of the centre of the cutout. Columns are drawn one after the other whatever is switched off, so
            the crops do not change when a cutout is added. There follow, if asked for, the seed of a resized crop,
            and four numbers for the colours.
        """
        upper = [2 * self.pad + 1, 2 * self.pad + 1, 2 if self.flip else 1, height, width]
        upper += [2**62] if self.crop == "resized" else []
        upper += [STEPS] * 4 if self.color_jitter else []
        return torch.stack([torch.randint(high, (count,), generator=generator) for high in upper], dim=1)

    def crop_seeds(self, draws: Tensor) -> list[int] | None:
        """Return the seeds of the resized crops of `draws` `(B, D)`; None where crops are not resized."""
        return draws[:, 5].tolist() if self.crop == "resized" else None

    def jittered(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Return pixels `(B, H, W, C)` between 0 and 255 with the colours that their `draws` `(B, D)` give them."""
        return pixels if self.color_jitter is None else self.color_jitter(pixels, draws[:, -4:])


def crop_and_flip(padded: Tensor, indices: Tensor, draws: Tensor, height: int, width: int) -> Tensor:
    """Return the crops `(B, H, W, C)` of the images `indices` `(B,)`, mirrored where their `draws` `(B, D)` say so.

    All images are in `padded` `(N, H + 2 pad, W + 2 pad, C)`, which is contiguous, as the crops are.
    """
    top, left, flipped = draws[:, 0, None], draws[:, 1, None], draws[:, 2, None]
    column = torch.arange(width, device=padded.device)
    rows = top + torch.arange(height, device=padded.device)  # (B, H)
    columns = left + torch.where(flipped == 1, width - 1 - column, column)  # (B, W)
    rows_above = indices[:, None] * padded.shape[1] + rows
    pixels = (rows_above * padded.shape[2])[:, :, None] + columns[:, None, :]  # (B, H, W), into N * (H + 2p) * (W + 2p)
    # Indexing rows of a flat view is four times faster on a CPU than indexing three dimensions at once.
    channels = padded.shape[3]
    return padded.view(-1, channels).index_select(0, pixels.flatten()).view(len(indices), height, width, channels)


def cutout_mask(draws: Tensor, side: int, height: int, width: int) -> Tensor:
    """Return `(B, H, W, 1)`, true inside the square of `side` pixels around each image's centre from `draws`.

    The square starts `side // 2` above and left of its centre and is cut off at the border.
    """
    above = torch.arange(height, device=draws.device) - (draws[:, 3, None] - side // 2)  # (B, H)
    beside = torch.arange(width, device=draws.device) - (draws[:, 4, None] - side // 2)  # (B, W)
    in_rows, in_columns = (above >= 0) & (above < side), (beside >= 0) & (beside < side)
    return (in_rows[:, :, None] & in_columns[:, None, :])[..., None]
