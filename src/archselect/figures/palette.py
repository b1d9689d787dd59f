"""One colour, line and marker per operation, the same in every picture.

The colour is that of the operation's family, from a palette safe for colour-blind readers (Okabe and Ito); line,
marker and hatch tell the members of a family apart, so nothing rests on colour alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from matplotlib.colors import to_rgb

Line = Literal["-", "--", ":"]


@dataclass(frozen=True)
class Style:
    """How an operation looks."""

    colour: str
    line: Line = "-"
    marker: str = "o"

    @property
    def tint(self) -> tuple[float, float, float]:
        """The colour mixed with white, light enough for dark text on it."""
        red, green, blue = (1 - (1 - part) * 0.25 for part in to_rgb(self.colour))
        return red, green, blue

    @property
    def hatch(self) -> str | None:
        """What fills a bar, beside the colour."""
        return {"-": None, "--": "//////", ":": "......"}[self.line]


_GREY, _VERMILLION, _GREEN, _BLUE, _SKY, _PURPLE = "#7F7F7F", "#D55E00", "#009E73", "#0072B2", "#56B4E9", "#CC79A7"
_ORANGE, _BLACK = "#E69F00", "#000000"

STYLES = {
    "none": Style(_GREY, ":", "X"),
    "skip_connect": Style(_VERMILLION, "-", "o"),
    "max_pool_3x3": Style(_GREEN, "-", "^"),
    "avg_pool_3x3": Style(_GREEN, "--", "v"),
    "sep_conv_3x3": Style(_BLUE, "-", "s"),
    "sep_conv_5x5": Style(_BLUE, "--", "D"),
    "sep_conv_7x7": Style(_BLUE, ":", "p"),
    "nor_conv_1x1": Style(_SKY, "--", "D"),
    "nor_conv_3x3": Style(_BLUE, "-", "s"),
    "dil_conv_3x3": Style(_SKY, "-", "P"),
    "dil_conv_5x5": Style(_SKY, "--", "*"),
    "noise": Style(_PURPLE, "-", "h"),
}
_OTHERS = (Style(_ORANGE), Style(_BLACK, "-", "s"), Style(_ORANGE, "--", "D"), Style(_BLACK, "--", "^"))


def styles(operations: Iterable[str]) -> dict[str, Style]:
    """Return the style of each operation, in the order of their first appearance.

    Operations of a user's own take the colours that no family has, in that order; from the fifth on they repeat.
    """
    found: dict[str, Style] = {}
    others = 0
    for operation in operations:
        if operation in found:
            continue
        if operation in STYLES:
            found[operation] = STYLES[operation]
        else:
            found[operation] = _OTHERS[others % len(_OTHERS)]
            others += 1
    return found
