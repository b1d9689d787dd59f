"""What the page is made of: relative links, pictures embedded once, notes on what is missing."""

import hashlib
import io
import os
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from PIL import Image, UnidentifiedImageError

from archselect.safe_io.data_files import open_picture
from archselect.safe_io.files import PICTURE_BYTES, read_bytes


@dataclass(frozen=True)
class Links:
    """Makes the links of a page.

    Attributes:
        home: The folder of the page.
    """

    home: Path

    def to(self, path: Path) -> str | None:
        """Return the relative address of `path`, quoted: no name of a folder can be a scheme; None: it is not there."""
        if not path.exists():
            return None
        # Symbolic links stay: a browser takes ".." off the address that the page was opened by.
        address = quote(os.fsencode(os.path.relpath(path, self.home)))
        return f"{address}/" if path.is_dir() else address


T = TypeVar("T")


@dataclass
class Notes:
    """The sentences on one run."""

    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Add a sentence."""
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def attempt(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        """Return what `read` returns, or `otherwise` where the files do not have it: then a sentence says why."""
        try:
            return read()
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            self.add(f"{what} cannot be shown: {_reason(error)}")
            return otherwise


def _reason(error: Exception) -> str:
    match error:
        case KeyError():
            reason = f"a record lacks {error.args[0]}"
        case OSError(strerror=str(text), filename=name) if name:
            reason = f"{text}: {name}"
        case ValueError() | OSError():
            reason = str(error)
        case _:
            reason = f"a record is not what it should be ({error})"
    return reason if reason.endswith(".") else f"{reason}."


COLOURS = 256
"""Of an embedded picture: enough for the drawings of a run, at a third of the size."""


@dataclass(frozen=True)
class Picture:
    """A picture as a run shows it.

    Attributes:
        key: Of its data among `Pictures.data`.
        caption: What it shows.
        width: In pixels.
        height: In pixels.
    """

    key: str
    caption: str
    width: int
    height: int


@dataclass
class Pictures:
    """The data URIs of a page's pictures, by their content."""

    data: dict[str, str] = field(default_factory=dict)

    def add(self, path: Path, root: Path, caption: str) -> Picture:
        """Return the picture at `path`, which lies in the folder `root`, embedded.

        Raises:
            OSError: It is not there.
            ValueError: It is no picture, or a damaged one.
        """
        content = read_bytes(path, root, PICTURE_BYTES)
        key = hashlib.sha256(content).hexdigest()[:16]
        try:
            with open_picture(io.BytesIO(content)) as image:
                width, height = image.size
                if key not in self.data:
                    self.data[key] = f"data:image/png;base64,{b64encode(_smaller(image)).decode()}"
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # pillow raises all of these
            why = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"{path} is damaged, or no picture: {why}") from error
        return Picture(key, caption, width, height)


def _smaller(image: Image.Image) -> bytes:
    """Return the picture as a PNG with a palette, on white."""
    flat = Image.new("RGB", image.size, "white")
    whole = image.convert("RGBA")
    flat.paste(whole, mask=whole.getchannel("A"))
    file = io.BytesIO()
    # No dithering: it would put dots into plain areas, and they would not compress.
    flat.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()
