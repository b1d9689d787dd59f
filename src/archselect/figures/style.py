"""How all figures look: one colour, line and marker per operation, sizes, fonts, formats; without pyplot.

An operation's colour is that of its family, from a palette safe for colour-blind readers (Okabe and Ito); line, marker
and hatch tell the members of a family apart, so nothing rests on colour alone. A drawing function is decorated with
`styled`, takes plain data, and returns the figure; `save` writes it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import ceil
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

Rows = Sequence[Mapping[str, Any]]
"""Plain records, as they are read from a file."""


@dataclass(frozen=True)
class Style:
    """How an operation or a selection looks."""

    colour: str
    line: Literal["-", "--", ":", "-."] = "-"
    marker: str = "o"

    @property
    def fill(self) -> dict[str, Any]:
        """How a bar is filled: with the colour, and hatched where a line would be broken."""
        hatch = {"-": None, "--": "//////", ":": "......", "-.": "xxxxxx"}[self.line]
        return {"facecolor": self.colour, "edgecolor": "white", "hatch": hatch, "linewidth": 0}


GREY, VERMILLION, GREEN, BLUE, SKY, PURPLE = "#7F7F7F", "#D55E00", "#009E73", "#0072B2", "#56B4E9", "#CC79A7"
ORANGE, BLACK = "#E69F00", "#000000"

STYLES = {
    "none": Style(GREY, ":", "X"),
    "skip_connect": Style(VERMILLION, "-", "o"),
    "max_pool_3x3": Style(GREEN, "-", "^"),
    "avg_pool_3x3": Style(GREEN, "--", "v"),
    "sep_conv_3x3": Style(BLUE, "-", "s"),
    "sep_conv_5x5": Style(BLUE, "--", "D"),
    "sep_conv_7x7": Style(BLUE, ":", "p"),
    "nor_conv_1x1": Style(SKY, "--", "D"),
    "nor_conv_3x3": Style(BLUE, "-", "s"),
    "dil_conv_3x3": Style(SKY, "-", "P"),
    "dil_conv_5x5": Style(SKY, "--", "*"),
    "noise": Style(PURPLE, "-", "h"),
}
OLIVE, WINE, INDIGO, BROWN = "#999933", "#882255", "#332288", "#8C510A"
_OWN = tuple(
    Style(colour, line, marker)
    for line in ("-", "--")
    for colour, marker in zip((ORANGE, BLACK, WINE, OLIVE, INDIGO, BROWN), "ds^vph", strict=True)
)
_SELECTIONS = (
    Style(BLUE),
    Style(VERMILLION, "--", "s"),
    Style(GREEN, ":", "^"),
    Style(PURPLE, "-.", "D"),
    Style("0.3", "-", "v"),
)


def styles(operations: Iterable[str]) -> dict[str, Style]:
    """Return the style of each operation, in the order of their first appearance.

    Operations of a user's own have colours that no family has. Each name has one that is its own, in every figure and
    run; where two fall on the same, that which is later in the alphabet takes the next, so give all that a run has.
    From the thirteenth on they repeat.
    """
    names, places = dict.fromkeys(operations), dict[str, int]()
    for name in sorted(name for name in names if name not in STYLES):
        first = int(hashlib.sha256(name.encode()).hexdigest(), 16) % (len(_OWN) // 2)  # of the solid lines
        following = (place % len(_OWN) for place in range(first, first + len(_OWN)))
        places[name] = next((place for place in following if place not in places.values()), first)
    return {name: STYLES[name] if name in STYLES else _OWN[places[name]] for name in names}


def selection_styles(selections: Iterable[str]) -> dict[str, Style]:
    """Return the style of each selection, in the order of their first appearance; from the sixth on they repeat."""
    return dict(zip(dict.fromkeys(selections), cycle(_SELECTIONS), strict=False))


FORMATS = ("png", "svg", "pdf")


def formats_of(value: object) -> tuple[str, ...]:
    """Return the formats that the option `figures.format` asks for: one of `FORMATS`, or a list of them."""
    wanted = [value] if isinstance(value, str) else value
    if not isinstance(wanted, list | tuple) or not wanted or not all(one in FORMATS for one in wanted):
        raise ValueError(
            f"figures.format must be one of {', '.join(FORMATS)}, or a list of them such as [svg,pdf]; got {value!r}."
        )
    return tuple(dict.fromkeys(wanted))


WIDTH = 7.2
"""Inches: text of 8 points is still legible where a paper shrinks the figure to its 5.5 inches."""
WIDEST = 9.9
"""Inches, of the few figures that grow with what they show; below 1,600 pixels."""

styled = matplotlib.rc_context({"text.parse_math": False}, Path(__file__).with_name("archselect.mplstyle"))
"""Decorator of drawing functions: matplotlib's defaults and our style sheet, left behind when the function returns.

Names are text: a dollar in one begins no formula.
"""

_NO_DATES: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_CHARACTER = 0.62  # width of a character, in units of the font size: of DejaVu Sans, rather wide


def new_figure(title: str, height: float, width: float = WIDTH) -> tuple[Figure, SubFigure]:
    """Return a white figure of that size in inches with a bold title, and the part of it below the title.

    Constrained layout makes room for titles, labels and legends; what is drawn belongs into the part, whose legend
    then stands below the title.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    add_title(figure, title, 10)
    return figure, figure.subfigures(1, 1, squeeze=False)[0, 0]


def add_title(figure: FigureBase, title: str, size: float = 9, weight: str = "bold") -> None:
    """Write a title at the upper left of a figure or a part of it; it is wrapped where it is too long."""
    text = title.replace("$", r"\$")  # what is wrapped is measured as a formula otherwise
    figure.suptitle(text, x=0.008, ha="left", fontsize=size, fontweight=weight, wrap=True, parse_math=True)


def parts(figure: FigureBase, titles: Iterable[str], heights: Sequence[float]) -> list[SubFigure]:
    """Return parts of a figure below one another, with titles and of these heights relative to each other."""
    found = list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    for part, title in zip(found, titles, strict=True):
        add_title(part, title)
    return found


def add_legend(figure: FigureBase, handles: Sequence[Artist | Container]) -> None:
    """Add a legend above what is drawn: one line if it fits into the width, columns otherwise."""
    widths = [0.55 + _CHARACTER * 8 / 72 * len(str(handle.get_label())) for handle in handles]
    most = len(handles) if sum(widths) <= WIDTH else max(1, int(WIDTH / max(widths)))
    columns = ceil(len(handles) / ceil(len(handles) / most))  # all of the same length
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, borderaxespad=0.2)


def legend_line(label: str, style: Style, **look: Any) -> Line2D:
    """Return a line for the legend."""
    return Line2D([], [], color=style.colour, linestyle=style.line, label=label, **look)


def legend_dot(label: str, colour: str, filled: bool, marker: str = "o") -> Line2D:
    """Return a dot for the legend."""
    face = colour if filled else "white"
    return Line2D([], [], linestyle="", marker=marker, markersize=5, color=colour, markerfacecolor=face, label=label)


def fitting_size(text: str, width: float, size: float = 8) -> float:
    """Return the font size, `size` at most, at which a text is not wider than `width` inches."""
    return min(size, 72 * width / (_CHARACTER * max(map(len, text.split("\n")))))


def limits(values: Sequence[float], narrowest: float) -> tuple[float, float]:
    """Return limits of an axis around `values`, with a margin, that are not so narrow that noise looks large."""
    middle, span = (min(values) + max(values)) / 2, max(max(values) - min(values), narrowest)
    return middle - 0.56 * span, middle + 0.56 * span


def whole_numbers(axes: Axes, most: int = 6) -> None:
    """Put the ticks of the x axis, such as epochs, at whole numbers, of which the range that is drawn holds two."""
    low, high = axes.get_xlim()
    if high - low < 2:
        axes.set_xlim((low + high) / 2 - 1, (low + high) / 2 + 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=most, integer=True))


def cell_title(name: str) -> str:
    """Return what a cell of that type is called: "normal cell", but "cell" where there is one type only."""
    return name if name.endswith("cell") else f"{name} cell"


def edge_name(edge: Sequence[int]) -> str:
    """Return `(source,target)`."""
    return f"({edge[0]},{edge[1]})"


@styled
def save(figure: Figure, stem: str | Path, formats: Sequence[str] = ("png",)) -> Path:
    """Write `figure` as `STEM.png` and in the other formats beside it, making the folder; return the PNG's path.

    The PNG is always written: reports, dashboards and notebooks show it. The same data give the same bytes.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    if (layout := figure.get_layout_engine()) is not None:  # once for all formats: it takes longer than to draw
        for axes in figure.axes:  # what lies within the axes needs no room, and measuring it takes long
            for artist in (*axes.spines.values(), *axes.lines, *axes.patches, *axes.images):
                artist.set_in_layout(False)
        layout.execute(figure)
        figure.set_layout_engine(None)
    for form in dict.fromkeys(("png", *formats)):
        figure.savefig(stem.with_name(f"{stem.name}.{form}"), metadata=_NO_DATES[form])
    return stem.with_name(f"{stem.name}.png")
