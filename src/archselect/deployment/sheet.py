"""A sheet of the images that a network is most wrong about: what each is, and what the network takes it for."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from archselect.figures.style import WIDTH, fitting_size, new_figure, styled

COLUMNS = 5


@dataclass(frozen=True)
class Mistake:
    """An image, `(H, W, C)` in uint8, its name, and what is and was said to be true of it."""

    pixels: NDArray[np.uint8]
    name: str
    true: str
    said: str


@styled
def sheet(title: str, mistakes: Sequence[Mistake]) -> Figure:
    """Draw mistakes, the worst first, line by line."""
    lines = max(1, ceil(len(mistakes) / COLUMNS))
    figure, part = new_figure(title, 0.4 + 1.75 * lines)
    axes = part.subplots(lines, COLUMNS, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    for axis, mistake in zip(axes, mistakes, strict=False):
        pixels = mistake.pixels[..., :3] if mistake.pixels.shape[2] >= 3 else mistake.pixels[..., 0]
        axis.imshow(pixels, cmap=None if pixels.ndim == 3 else "gray", vmin=0, vmax=255, interpolation="nearest")
        text = f"{_short(mistake.name)}\nis {_short(mistake.true)}\nsaid {_short(mistake.said)}"
        axis.set_title(text, fontsize=fitting_size(text, WIDTH / COLUMNS - 0.1, 7), loc="left", parse_math=False)
    return figure


def _short(text: str, most: int = 28) -> str:
    return text if len(text) <= most else f"...{text[3 - most :]}"
