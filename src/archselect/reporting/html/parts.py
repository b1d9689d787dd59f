"""What runs and folders of several runs show alike: links, embedded pictures, analyses, notes on what is missing."""

import hashlib
import io
import os
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from PIL import Image, UnidentifiedImageError

from archselect.safe_io.files import PICTURE_BYTES, TEXT_BYTES, open_picture, read_bytes, read_text

ANALYSES = "analyses"
READING = "reading.md"
COLOURS = 256
"""Of an embedded picture: enough for the drawings of a run, at a third of the size."""

T = TypeVar("T")


@dataclass
class Notes:
    """The sentences on what one run, or the folders of several, lack; each once."""

    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)

    def attempt(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        """Return what `read` returns, or `otherwise` where the files do not have it: then a sentence says why."""
        try:
            return read()
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            self.add(f"{what} cannot be shown: {_reason(error).removesuffix('.')}.")
            return otherwise


def _reason(error: Exception) -> str:
    match error:
        case KeyError():
            return f"a record lacks {error.args[0]}"
        case OSError(strerror=str(text), filename=name) if name:
            return f"{text}: {name}"
        case ValueError() | OSError():
            return str(error)
        case _:
            return f"a record is not what it should be ({error})"


class Picture(NamedTuple):
    """A picture as a run shows it; `key` is that of its data among `Assets.pictures`, and sizes are in pixels."""

    key: str
    caption: str
    width: int
    height: int


@dataclass
class Assets:
    """The pictures of a page, as data URIs by their content, and its links, which begin in the page's folder `home`."""

    home: Path
    pictures: dict[str, str] = field(default_factory=dict)

    def link(self, path: Path) -> str | None:
        """Return the relative address of `path`, quoted: no name of a folder can be a scheme; None: it is not there."""
        if not path.exists():
            return None
        # Symbolic links stay: a browser takes ".." off the address that the page was opened by.
        address = quote(os.fsencode(os.path.relpath(path, self.home)))
        return f"{address}/" if path.is_dir() else address

    def embed(self, path: Path, root: Path, caption: str) -> Picture:
        """Return the picture at `path`, which lies in the folder `root`, embedded once.

        Raises:
            OSError: It is not there.
            ValueError: It is no picture, or a damaged one.
        """
        content = read_bytes(path, root, PICTURE_BYTES)
        key = hashlib.sha256(content).hexdigest()[:16]
        try:
            with open_picture(io.BytesIO(content)) as image:
                if key not in self.pictures:
                    self.pictures[key] = f"data:image/png;base64,{b64encode(_smaller(image)).decode()}"
                return Picture(key, caption, *image.size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # pillow raises all of these
            why = "its format is not known" if isinstance(error, UnidentifiedImageError) else error
            raise ValueError(f"{path} is damaged, or no picture: {why}") from error


def _smaller(image: Image.Image) -> bytes:
    """Return the picture as a PNG with a palette, on white."""
    flat = Image.new("RGB", image.size, "white")
    whole = image.convert("RGBA")
    flat.paste(whole, mask=whole.getchannel("A"))
    file = io.BytesIO()
    # No dithering: it would put dots into plain areas, and they would not compress.
    flat.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


def analyses_in(folder: Path, assets: Assets, notes: Notes) -> list[dict[str, Any]]:
    """Return what `python analyze.py` left in `folder`, such as a run's, in alphabetical order."""
    # A folder that has none of what an analysis leaves is one of something else.
    return [
        _analysis(home, folder, assets, notes)
        for home in sorted((folder / ANALYSES).glob("*"))
        if any((home / name).exists() for name in (READING, f"{home.name}.png", f"{home.name}.csv"))
    ]


def _analysis(home: Path, folder: Path, assets: Assets, notes: Notes) -> dict[str, Any]:
    name, caption = home.name, f"Analysis: {home.name.replace('_', ' ')}"
    read = partial(read_text, home / READING, folder, TEXT_BYTES)
    reading = notes.attempt(f"The reading of the analysis {name}", read, "")
    embed = partial(assets.embed, home / f"{name}.png", folder, caption)
    picture: Picture | None = notes.attempt(f"The picture of the analysis {name}", embed, None)
    tables = [(table.name, assets.link(table)) for table in sorted(home.glob("*.csv"))]
    if not tables:
        notes.add(f"The analysis {name} has no table: there is no .csv in {home}.")
    paragraphs = [part for part in reading.split("\n\n") if part.strip()]
    return {
        "name": name,
        "folder": home,
        "link": assets.link(home),
        "tables": tables,
        "paragraphs": paragraphs,
        "picture": picture,
    }
