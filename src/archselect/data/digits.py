"""Data sets with other targets than a class, made of scikit-learn's digits: real images that ship with a package."""

from dataclasses import dataclass

import torch
from PIL import Image

from archselect.data.decode import EncodedImages
from archselect.data.sources import Digits, Source, Split, digest
from archselect.distributed.rng import generator_for
from archselect.utils.validation import NonNegativeInt, PositiveFloat, check_fields

FINE = 4  # times as large a digit is drawn while it is turned


@dataclass(frozen=True)
class RotatedDigits(Source):
    """Every digit turned once by an angle that is to be told, of uniform distribution: one target, `angle`, in degrees.

    Counter-clockwise, in images of 12 x 12 pixels with room for the corners. The splits are those of the digits.

    Attributes:
        degrees: The largest angle, to either side.
        seed: Of the angles: they belong to the data and are the same in every run.
    """

    degrees: PositiveFloat = 60.0
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        check_fields(self, "data.source")

    def open(self, split: Split) -> EncodedImages:
        digits = Digits().open(split)
        generator = generator_for("rotated digits", self.seed, split)
        angles = (2 * torch.rand(len(digits), 1, generator=generator) - 1) * self.degrees

        def turned(row: int) -> Image.Image:
            canvas = Image.new("L", (12, 12))
            canvas.paste(_picture(digits, row), (2, 2))
            large = canvas.resize((12 * FINE, 12 * FINE), Image.Resampling.BICUBIC)
            return large.rotate(float(angles[row]), Image.Resampling.BILINEAR).resize((12, 12), Image.Resampling.BOX)

        return EncodedImages(angles, turned, digits.name, 1, ("angle",))

    def fingerprint(self) -> str:
        return digest("rotated digits", Digits().fingerprint(), float(self.degrees), self.seed)


@dataclass(frozen=True)
class DigitPairs(Source):
    """Two digits side by side: which of the ten are there is to be told, ten labels of which one or two are 1.

    Every digit is the left one of one image, in the middle of 16 x 16 pixels; the right one is drawn from its split.

    Attributes:
        seed: Of the pairs: they belong to the data and are the same in every run.
    """

    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        check_fields(self, "data.source")

    def open(self, split: Split) -> EncodedImages:
        digits = Digits().open(split)
        right = torch.randperm(len(digits), generator=generator_for("digit pairs", self.seed, split))
        left = torch.arange(len(digits))
        targets = torch.zeros(len(digits), 10)
        for column in (left, right):
            targets[left, digits.labels[column]] = 1.0

        def pair(row: int) -> Image.Image:
            canvas = Image.new("L", (16, 16))
            canvas.paste(_picture(digits, row), (0, 4))
            canvas.paste(_picture(digits, int(right[row])), (8, 4))
            return canvas

        return EncodedImages(targets, pair, digits.name, 10, tuple(map(str, range(10))))

    def fingerprint(self) -> str:
        return digest("digit pairs", Digits().fingerprint(), self.seed)


def _picture(digits: EncodedImages, row: int) -> Image.Image:
    picture = digits.open(row)
    assert isinstance(picture, Image.Image)
    return picture
