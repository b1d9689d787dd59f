"""Images as files store them, decoded into one tensor."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from archselect.data.pixels import (
    BrokenImageError,
    PixelFormat,
    Stored,
    channels_of,
    height_and_width,
    pixels_of,
    readable,
)

LOOKED_AT = 1_000
"""Images that tell how many channels all of them have, evenly spaced: it takes a second, without decoding."""

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ImageTensors:
    """Images `(N, C, H, W)` in uint8 with their labels `(N,)` in int64, or targets `(N, D)`.

    Attributes:
        whose: Which image each shows `(N,)`, where others stand for broken ones; None: all show themselves.
    """

    images: Tensor
    labels: Tensor
    whose: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> "ImageTensors":
        """Return the images at `indices` `(M,)`, in that order; for broken ones stand others among these.

        Raises:
            BrokenImageError: A class has none among these that could be read.
        """
        labels = self.labels[indices]
        if self.whose is None:
            return ImageTensors(self.images[indices], labels)
        whose = torch.arange(len(indices))
        broken = self.whose[indices] != indices
        for position in broken.nonzero().flatten().tolist():
            readable_ones = (other for other in others_alike(labels, position) if not broken[other])
            if (other := next(readable_ones, None)) is None:
                raise BrokenImageError("An image cannot be decoded, and no other of its class and part can be read.")
            whose[position] = other
        return ImageTensors(self.images[indices[whose]], labels, whose)

    @property
    def shown_labels(self) -> Tensor:
        """The labels of what the images show: of another image, where that stands for a broken one."""
        return self.labels if self.whose is None else self.labels[self.whose]


def others_alike(labels: Tensor, position: int) -> Iterator[int]:
    """Yield the positions of the other images of an image's class, if it has one: those after it, then before."""
    everyone = torch.arange(len(labels))
    alike = everyone[labels == labels[position]] if labels.dim() == 1 else everyone
    yield from (*alike[alike > position].tolist(), *alike[alike < position].tolist())


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """One split before decoding."""

    labels: Tensor  # classes (N,), int64, or numbers as targets (N, D), float32
    open: Callable[[int], Stored]  # of image i
    name: Callable[[int], str]  # how an error names image i, e.g. "row 3 of train.parquet"
    classes: int | None = None  # or targets D; where the storage tells, as with the names
    class_names: tuple[str, ...] | None = None
    unread: str = ""  # what lies beside the images and is not read, as a sentence

    def __len__(self) -> int:
        return len(self.labels)

    def check_labels(self, classes: int) -> None:
        """Raise a ValueError for another number of classes or targets, or for the first label that is none of them.

        A class lies between 0 and `classes` - 1; a target is a finite number.
        """
        if self.classes is not None and self.classes != classes:
            raise ValueError(
                f"Expected {classes} classes, as the configuration says, but the data have {self.classes}. "
                "Change data.classes, or take other data."
            )
        if self.labels.dim() > 1:
            wrong = (~self.labels.isfinite()).nonzero()
            if len(wrong):
                row, column = wrong[0].tolist()
                raise ValueError(
                    f"Expected finite numbers as targets, but {self.name(row)} has {float(self.labels[row, column])} "
                    f"for target {column + 1} of {classes}; {len(wrong)} are not finite. Correct or remove them."
                )
            return
        outside = ((self.labels < 0) | (self.labels >= classes)).nonzero()
        if len(outside):
            row = int(outside[0])
            raise ValueError(
                f"Expected labels from 0 to {classes - 1}, because data.classes is {classes}, "
                f"but {self.name(row)} has the label {int(self.labels[row])}; {len(outside)} labels are outside."
            )

    def pixels(self, row: int, form: PixelFormat, crop_seed: int | None = None) -> NDArray[np.uint8]:
        """Return the pixels `(size, size, C)` of one image, or of the random part of it that a seed stands for.

        Raises:
            ValueError: It cannot be decoded, or it has another size or other channels, which are not to be converted.
        """
        with self._opened(row) as image:
            return pixels_of(image, form, self.name(row), crop_seed)

    def channels(self, skip_broken: bool = False) -> int:
        """Return how many channels the images have, as `LOOKED_AT` of them are stored: pictures one only if all do.

        Raises:
            ValueError: An image is damaged (to be skipped: all are), or they have different numbers.
        """
        found: dict[int, int] = {}
        rows = torch.linspace(0, len(self) - 1, min(len(self), LOOKED_AT)).round().long().tolist()
        for row, channels in self._looked_at(rows, skip_broken, lambda image, name: channels_of(image)):
            found.setdefault(channels, row)
        if not found.keys() <= {1, 3} and len(found) > 1:
            (few, first), *_, (many, last) = sorted(found.items())
            raise ValueError(
                f"Expected images of one number of channels, but {self.name(first)} has {few} and {self.name(last)} "
                f"{many}. Set data.channels to 1, 3 or 4 for pictures, and remove the others."
            )
        return max(found)

    def size(self, skip_broken: bool = False) -> int:
        """Return height and width in pixels of the first image (that can be read, where broken ones are skipped).

        Raises:
            ValueError: It is damaged, or not square.
        """
        row, (height, width) = next(self._looked_at(range(len(self)), skip_broken, height_and_width))
        if width != height:
            raise ValueError(
                f"Expected square images, but {self.name(row)} is {height} pixels high and {width} wide. "
                "Set data.image_size to the size that all of them are scaled and cropped to."
            )
        return height

    def _looked_at(
        self, rows: Sequence[int], skip_broken: bool, look: Callable[[Stored, str], T]
    ) -> Iterator[tuple[int, T]]:
        """Yield rows with what is seen of their images, without broken ones where they are skipped, unless all are."""
        seen, error = False, None
        for row in rows:
            try:
                with self._opened(row) as image:
                    found = look(image, self.name(row))
            except BrokenImageError as broken:
                if not skip_broken:
                    raise
                error = broken
                continue
            seen = True
            yield row, found
        if error and not seen:
            raise error

    @contextmanager
    def _opened(self, row: int) -> Iterator[Stored]:
        with readable(self.name(row), "not an image that can be read"):
            image = self.open(row)
        try:
            yield image
        finally:
            if isinstance(image, Image.Image):
                image.close()
