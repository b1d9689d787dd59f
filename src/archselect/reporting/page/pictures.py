"""PNGs on the page: each embedded once, however many runs show it, and shown when a run is opened."""

import hashlib
import io
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from archselect.foreign.files import read_bytes
from archselect.foreign.limits import PICTURE_BYTES
from archselect.foreign.pictures import open_picture

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
