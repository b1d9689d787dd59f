"""Encoded images that may come from somebody else."""

from pathlib import Path
from typing import BinaryIO

from PIL import Image

from archselect.foreign.limits import PICTURE_FORMATS, PICTURE_PIXELS


def open_picture(file: Path | BinaryIO) -> Image.Image:
    """Open an image; its pixels are decoded later.

    Raises:
        ValueError: It has too many pixels; nothing is decoded.
        OSError: It is no image, or in a format that is not decoded.
        PIL.Image.DecompressionBombError: Likewise too many pixels, said by Pillow.
    """
    image = Image.open(file, formats=PICTURE_FORMATS)
    if image.width * image.height > PICTURE_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise ValueError(f"it has {size} pixels, and at most {PICTURE_PIXELS:,} are decoded")
    return image
