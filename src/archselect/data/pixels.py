"""One stored image, a picture or an array, and the pixels that it is decoded into."""

import math
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

Stored = Image.Image | NDArray[np.uint8]
"""An opened image: a picture, whose pixels are decoded later, or an array `(H, W, C)`."""

GREY = ("1", "L", "LA", "La")
"""Pillow's modes of pictures without colour."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""The mode that pictures are converted to, by the number of channels."""

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


SCALES = (0.08, 1.0)
"""Of a random resized crop: its area, as a share of the image's (C. Szegedy et al., CVPR 2015, sec. 6)."""

RATIOS = (3 / 4, 4 / 3)
"""Likewise its width by its height."""


class BrokenImageError(ValueError):
    """An image that cannot be decoded, whenever it is tried."""


@dataclass(frozen=True)
class PixelFormat:
    """What images are decoded into.

    Attributes:
        size: Height and width in pixels.
        channels: Pictures are converted to 1, 3 or 4; an array has to have as many.
        resize: Whether an image of another size is scaled and cropped around its centre, or refused.
        to_grey: Whether a picture in colour is converted to one channel, or refused.
        center_crop: The side of the square that is cropped around the centre, as a share of the image's shorter side,
            where images are scaled.
    """

    size: int
    channels: int = 3
    resize: bool = False
    to_grey: bool = True
    center_crop: float = 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.size, self.size, self.channels


@contextmanager
def readable(name: str, otherwise: str) -> Iterator[None]:
    """Turn what Pillow and NumPy raise into a sentence that says what the image of that name is."""
    try:
        yield
    except PILLOW_ERRORS as error:
        why = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
        words = f"{name} is {otherwise} ({why}). Replace or remove it."
        # What the system refuses, such as a disk that is away for a while, need not be wrong with the image.
        is_broken = not (isinstance(error, OSError) and error.errno is not None)
        raise (BrokenImageError if is_broken else ValueError)(words) from error


def channels_of(image: Stored) -> int:
    """Return how many channels an image is stored with: a picture has one without colour and else three."""
    if isinstance(image, np.ndarray):
        return int(image.shape[2])
    return 1 if image.mode in GREY else 3


def height_and_width(image: Stored, name: str) -> tuple[int, int]:
    """Return those of an image as it is looked at, not as it is stored."""
    if isinstance(image, np.ndarray):
        return image.shape[0], image.shape[1]
    width, height = image.size
    if width != height:
        with readable(name, "an image that cannot be decoded"):
            width, height = upright(image).size
    return height, width


def pixels_of(image: Stored, form: PixelFormat, name: str, crop_seed: int | None = None) -> NDArray[np.uint8]:
    """Return the pixels `(size, size, C)` of an image; a picture in grey has equal channels.

    With a seed they are those of a random part of it: see `random_box`.

    Raises:
        ValueError: It cannot be decoded, or it has another size or other channels, which are not to be converted.
    """
    bands = _bands(image, form, name) if isinstance(image, np.ndarray) else [_converted(image, form, name)]
    width, height = bands[0].size
    is_of_size = (width, height) == (form.size, form.size)
    if not form.resize:
        if not is_of_size:
            raise ValueError(
                f"Expected images of {form.size} x {form.size} pixels, but {name} is {height} pixels high and {width} "
                "wide. Set data.image_size to the size of the images; data=image_folder and data=huggingface then "
                "scale and crop those of another size."
            )
    elif crop_seed is not None or form.center_crop < 1 or not is_of_size:
        bands = [_scaled(band, form, crop_seed) for band in bands]
    return np.dstack([np.asarray(band) for band in bands])


def _scaled(image: Image.Image, form: PixelFormat, crop_seed: int | None) -> Image.Image:
    """Return the square around the centre of an image, or a random part of it, scaled to the size of the format."""
    size = (form.size, form.size)
    if crop_seed is None:
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR, bleed=(1 - form.center_crop) / 2)
    return image.crop(random_box(*image.size, crop_seed)).resize(size, Image.Resampling.BILINEAR)


def random_box(width: int, height: int, seed: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the random resized crop that a seed stands for.

    As torchvision's `RandomResizedCrop`: area and the logarithm of the ratio are uniform, ten are tried, and where none
    lies in the image, it is the largest part around the centre with the ratio that is nearest to the image's.
    """
    generator, (lowest, highest) = random.Random(seed), map(math.log, RATIOS)
    for _ in range(10):
        area = width * height * (SCALES[0] + (SCALES[1] - SCALES[0]) * generator.random())
        ratio = math.exp(lowest + (highest - lowest) * generator.random())
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            top = int(generator.random() * (height - down + 1))
            left = int(generator.random() * (width - across + 1))
            return left, top, left + across, top + down
    across, down = min(width, round(height * RATIOS[1])), min(height, round(width / RATIOS[0]))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _converted(image: Image.Image, form: PixelFormat, name: str) -> Image.Image:
    """Return a picture upright, in the mode of so many channels."""
    if image.mode.startswith(("I", "F")):
        words = f"Expected 8 bits per channel, but {name} has the mode {image.mode}. Convert the images."
        raise BrokenImageError(words)
    if form.channels not in MODES:
        raise ValueError(
            f"Expected images of {form.channels} channels, but {name} is a picture, of which 1, 3 or 4 are made. Set "
            "data.channels to one of these, or store arrays (H, W, C) as .npy."
        )
    if form.channels == 1 and not form.to_grey and image.mode not in GREY:
        raise ValueError(
            f"Expected pictures in grey, as those are that were looked at first, but {name} has the mode {image.mode}. "
            "Set data.channels=3 for colour, or data.channels=1 to convert all of them to grey."
        )
    with readable(name, "an image that cannot be decoded"):
        return upright(image).convert(MODES[form.channels])


def _bands(array: NDArray[np.uint8], form: PixelFormat, name: str) -> list[Image.Image]:
    """Return the channels of an array, each as a picture."""
    found = channels_of(array)
    if found != form.channels:
        raise ValueError(
            f"Expected images of {form.channels} channels, but {name} is an array of {found}, and those of arrays are "
            "not converted. Set data.channels to what all of them have."
        )
    return [Image.fromarray(np.ascontiguousarray(array[:, :, channel])) for channel in range(found)]


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
