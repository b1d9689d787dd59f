"""Images as files store them, decoded into one tensor."""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import track
from torch import Tensor

WORTH_A_PROGRESS_BAR = 5_000  # images; fewer are decoded in half a second

# What Pillow raises for broken files, depending on their format and on what is broken.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

# What undoes each EXIF orientation (CIPA DC-008-2023, tag 274); 1 and whatever is none of these ask for nothing.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BrokenImageError(ValueError):
    """An image that cannot be decoded, whenever it is tried."""


@dataclass(frozen=True, eq=False)
class ImageTensors:
    """Images `(N, 3, H, W)` in uint8 with their labels `(N,)` in int64."""

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

    labels: Tensor  # (N,), int64
    open: Callable[[int], Image.Image]  # of image i, whose pixels may be decoded later
    name: Callable[[int], str]  # how an error names image i, e.g. "row 3 of train.parquet"
    classes: int | None = None  # where the storage tells, as with the names
    class_names: tuple[str, ...] | None = None
    unread: str = ""  # what lies beside the images and is not read, as a sentence

    def __len__(self) -> int:
        return len(self.labels)

    def check_labels(self, classes: int) -> None:
        """Raise a ValueError for another number of classes, or for the first label outside of 0 to `classes` - 1."""
        if self.classes is not None and self.classes != classes:
            raise ValueError(
                f"Expected {classes} classes, as the configuration says, but the data have {self.classes}. "
                "Change data.classes, or take other data."
            )
        outside = ((self.labels < 0) | (self.labels >= classes)).nonzero()
        if len(outside):
            row = int(outside[0])
            raise ValueError(
                f"Expected labels from 0 to {classes - 1}, because data.classes is {classes}, "
                f"but {self.name(row)} has the label {int(self.labels[row])}; {len(outside)} labels are outside."
            )

    def decode(self, indices: Tensor, size: int, resize: bool, description: str, console: Console) -> ImageTensors:
        """Decode the images at `indices` `(M,)` into `(M, 3, size, size)`; grey images become three equal channels.

        With `resize`, an image of another size is scaled and cropped around its centre. A progress bar with the
        description is shown when there are many images.

        Raises:
            ValueError: An image cannot be decoded, or has another size without `resize`.
        """
        rows: list[int] = indices.tolist()
        pixels = np.empty((len(rows), size, size, 3), dtype=np.uint8)
        quiet = len(rows) < WORTH_A_PROGRESS_BAR or console.is_jupyter  # where a bar asks for ipywidgets
        progress = track(rows, description, console=console, transient=True, disable=quiet)
        for position, row in enumerate(progress):
            pixels[position] = self.pixels(row, size, resize)
        return ImageTensors(torch.from_numpy(pixels).permute(0, 3, 1, 2), self.labels[indices])

    def size_of(self, row: int) -> int:
        """Return height and width of one square image in pixels; a ValueError says that it is not square."""
        with self._opened(row) as image:
            width, height = image.size
            if width != height:  # what an error says is the size that is looked at, not the one that is stored
                width, height = self._upright(image, row).size
        if width != height:
            raise ValueError(
                f"Expected square images, but {self.name(row)} is {height} pixels high and {width} wide. "
                "Set data.image_size to the size that all of them are scaled and cropped to."
            )
        return height

    @contextmanager
    def _readable(self, row: int, otherwise: str) -> Iterator[None]:
        """Turn what Pillow raises into a sentence that says what the image is."""
        try:
            yield
        except PILLOW_ERRORS as error:
            why = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
            words = f"{self.name(row)} is {otherwise} ({why}). Replace or remove it."
            # What the system refuses, such as a disk that is away for a while, need not be wrong with the image.
            is_broken = not (isinstance(error, OSError) and error.errno is not None)
            raise (BrokenImageError if is_broken else ValueError)(words) from error

    def _opened(self, row: int) -> Image.Image:
        with self._readable(row, "not an image that can be read"):
            return self.open(row)

    def _upright(self, image: Image.Image, row: int) -> Image.Image:
        with self._readable(row, "an image that cannot be decoded"):
            return upright(image).convert("RGB")

    def pixels(self, row: int, size: int, resize: bool) -> np.ndarray:
        """Return the pixels `(size, size, 3)` of one image; for the errors see `decode`."""
        with self._opened(row) as image:
            if image.mode.startswith(("I", "F")):
                raise BrokenImageError(
                    f"Expected 8 bits per channel, but {self.name(row)} has the mode {image.mode}. Convert the images."
                )
            colours = self._upright(image, row)
        if colours.size != (size, size):
            if not resize:
                raise ValueError(
                    f"Expected images of {size} x {size} pixels, but {self.name(row)} is {colours.height} pixels high "
                    f"and {colours.width} wide. Set data.image_size to the size of the images; data=image_folder and "
                    "data=huggingface then scale and crop those of another size."
                )
            colours = ImageOps.fit(colours, (size, size), Image.Resampling.BILINEAR)
        return np.asarray(colours)


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned and mirrored as its EXIF orientation asks for; damaged EXIF asks for nothing.

    The orientation is read after the pixels: Pillow turns a TIFF while it loads it, and takes the mark off.
    """
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except PILLOW_ERRORS:
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
