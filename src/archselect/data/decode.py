"""Images as files store them, decoded into one tensor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from archselect.data.pixels import PixelFormat, Stored, channels_of, height_and_width, pixels_of, readable

WORTH_A_PROGRESS_BAR = 5_000  # images; fewer are decoded in half a second

LOOKED_AT = 1_000
"""Images that tell how many channels all of them have, evenly spaced: it takes a second, without decoding."""


@dataclass(frozen=True, eq=False)
class ImageTensors:
    """Images `(N, C, H, W)` in uint8 with their labels `(N,)` in int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> "ImageTensors":
        """Return the images at `indices` `(M,)`, in that order."""
        return ImageTensors(self.images[indices], self.labels[indices])


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

    def decode(self, indices: Tensor, form: PixelFormat, description: str, console: Console) -> ImageTensors:
        """Decode the images at `indices` `(M,)` into `(M, C, size, size)`.

        A progress bar with the description is shown when there are many images.

        Raises:
            ValueError: As of `pixels`.
        """
        rows: list[int] = indices.tolist()
        pixels = np.empty((len(rows), *form.shape), dtype=np.uint8)
        quiet = len(rows) < WORTH_A_PROGRESS_BAR or console.is_jupyter  # where a bar asks for ipywidgets
        progress = track(rows, description, console=console, transient=True, disable=quiet)
        for position, row in enumerate(progress):
            pixels[position] = self.pixels(row, form)
        return ImageTensors(torch.from_numpy(pixels).permute(0, 3, 1, 2), self.labels[indices])

    def pixels(self, row: int, form: PixelFormat, crop_seed: int | None = None) -> NDArray[np.uint8]:
        """Return the pixels `(size, size, C)` of one image, or of the random part of it that a seed stands for.

        Raises:
            ValueError: It cannot be decoded, or it has another size or other channels, which are not to be converted.
        """
        with self._opened(row) as image:
            return pixels_of(image, form, self.name(row), crop_seed)

    def channels(self) -> int:
        """Return how many channels the images have, as `LOOKED_AT` of them are stored: pictures one only if all do.

        Raises:
            ValueError: An image is damaged, or they have different numbers.
        """
        found: dict[int, int] = {}
        for row in torch.linspace(0, len(self) - 1, min(len(self), LOOKED_AT)).round().long().tolist():
            with self._opened(row) as image:
                found.setdefault(channels_of(image), row)
        if not found.keys() <= {1, 3} and len(found) > 1:
            (few, first), *_, (many, last) = sorted(found.items())
            raise ValueError(
                f"Expected images of one number of channels, but {self.name(first)} has {few} and {self.name(last)} "
                f"{many}. Set data.channels to 1, 3 or 4 for pictures, and remove the others."
            )
        return max(found)

    def size_of(self, row: int) -> int:
        """Return height and width of one square image in pixels; a ValueError says that it is not square."""
        with self._opened(row) as image:
            height, width = height_and_width(image, self.name(row))
        if width != height:
            raise ValueError(
                f"Expected square images, but {self.name(row)} is {height} pixels high and {width} wide. "
                "Set data.image_size to the size that all of them are scaled and cropped to."
            )
        return height

    @contextmanager
    def _opened(self, row: int) -> Iterator[Stored]:
        with readable(self.name(row), "not an image that can be read"):
            image = self.open(row)
        try:
            yield image
        finally:
            if isinstance(image, Image.Image):
                image.close()
