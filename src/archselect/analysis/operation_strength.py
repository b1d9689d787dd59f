"""What magnitude picks on every edge, and what perturbation picks (DARTS-PT, Fig. 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, get_args

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from archselect.analysis.base import AnalysisContext, Measurer, Table, Tables
from archselect.analysis.stats import Edge, by_edge, mean, open_edges, tau
from archselect.figures.style import Style, add_legend, cell_title, new_figure, parts, styled, styles
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import StageResult
from archselect.selection import Scorer, Scoring
from archselect.selection.base import check_unraced
from archselect.selection.scoring import Criterion, perturbation_loss, standard_error_of_difference
from archselect.utils.validation import one_of

Rows = Sequence[Mapping[str, Any]]

_PANEL, _CELL = 1.05, 0.6  # inches: height of a panel; what surrounds those of a cell
_GROUP = 0.84
"""Share of an edge's room that its bars take."""


@dataclass(frozen=True)
class Quantity:
    """A column of bars.

    Attributes:
        column: Its name in the rows.
        label: What it is, with its unit.
        factor: What the values are multiplied by.
        error: Name of the column of its standard errors; None: it has none.
        smallest: Whether the smallest of an edge is marked, not the largest.
    """

    column: str
    label: str
    factor: float = 1.0
    error: str | None = None
    smallest: bool = False


@styled
def draw_operation_bars(rows: Rows, title: str, quantities: Sequence[Quantity]) -> Figure:
    """Draw quantities of the operations of every edge.

    Args:
        rows: One per operation: cell, edge, operation, and the columns of the quantities.
        title: Of the figure.
        quantities: From above.
    """
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    look = styles(row["operation"] for row in rows)
    height = _CELL + len(quantities) * _PANEL
    figure, body = new_figure(title, 0.75 + len(cells) * height)
    add_legend(body, _legend(look, quantities))
    for part, cell in zip(parts(body, map(cell_title, cells), [height] * len(cells)), cells, strict=True):
        own = [row for row in rows if row["cell"] == cell]
        panels = part.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
        for axes, quantity in zip(panels, quantities, strict=True):
            _draw_bars(axes, own, look, quantity)
            axes.set_ylabel(quantity.label)
        panels[-1].set_xlabel("edge (source,target)")
        part.align_ylabels()
    return figure


def _legend(look: Mapping[str, Style], quantities: Sequence[Quantity]) -> list[Artist]:
    most = "smallest" if all(quantity.smallest for quantity in quantities) else "largest"
    if any(quantity.smallest for quantity in quantities) and most == "largest":
        most = "preferred"
    mark = Line2D([], [], linestyle="", marker="v", color="0.15", markersize=5, label=f"{most} on its edge")
    return [*(Patch(**_fill(style), label=name) for name, style in look.items()), mark]


def _fill(style: Style) -> dict[str, Any]:
    return {"facecolor": style.colour, "edgecolor": "white", "hatch": style.hatch, "linewidth": 0}


def _draw_bars(axes: Axes, rows: Rows, look: Mapping[str, Style], quantity: Quantity) -> None:
    """Draw a group of bars per edge, and a mark over the preferred one."""
    axes.grid(axis="x", visible=False)
    edges = list(dict.fromkeys(row["edge"] for row in rows))
    ends = []
    for position, edge in enumerate(edges):
        own = [row for row in rows if row["edge"] == edge]
        width = _GROUP / len(own)
        tops = []
        for index, row in enumerate(own):
            x = position + (index - (len(own) - 1) / 2) * width
            value = quantity.factor * row[quantity.column]
            error = quantity.factor * (row[quantity.error] or 0.0) if quantity.error else 0.0
            axes.bar(x, value, 0.92 * width, **_fill(look[row["operation"]]))
            if error:
                axes.plot([x, x], [value - error, value + error], color="0.15", linewidth=0.9)
            tops.append((-value if quantity.smallest else value, x, max(value, 0) + error))
            ends += [value - error, value + error]
        _, x, end = max(tops, key=lambda top: top[0])
        axes.annotate("▼", (x, end), (0, 1.5), textcoords="offset points", ha="center", va="bottom", fontsize=5)
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.22 * (high - low) or 1.0  # above the marks
    axes.set_ylim(low - (0.05 * (high - low) if low < 0 else 0.0), high + margin)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xlim(-0.6, len(edges) - 0.4)
    axes.set_xticks(range(len(edges)), edges)
    axes.tick_params(axis="x", length=0)


@dataclass(frozen=True)
class OperationStrength:
    """On the supernet as the search left it, mask each operation of each edge, and look at `softmax(alpha)` beside it.

    Nothing is decided and nothing tuned in between, so all edges are seen in the same supernet. (The paper's figure
    shows the accuracy at convergence after discretising: see `DiscretizationAccuracy`.)

    Attributes:
        name: Shown in folders and reports.
        criterion: What an operation's strength is the loss of: `accuracy`, or (cross-entropy) `loss`.
        scoring: On what the supernet is scored.
    """

    name: str = "operation_strength"
    criterion: Criterion = "accuracy"
    scoring: Scoring = field(default_factory=Scoring)
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        one_of(get_args(Criterion)).check("analysis.criterion", self.criterion)
        check_unraced(self.name, self.scoring)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return per operation its weight and what the supernet is without it."""
        supernet = bench.supernet()
        scorer = bench.scorer(supernet, self.scoring)
        edges = open_edges(supernet)
        bench.fitting.progress.start(total=len(edges), completed=0)
        rows: Table = []
        for edge in edges:
            rows += bench.once(f"{edge.cell} {edge.name}", partial(perturbed, supernet, edge, scorer, self.criterion))
        return {"operations": rows}

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        title = "softmax(α) and perturbation strength of the operations of every edge"
        quantities = [Quantity("alpha", "softmax(α)"), strength_bars(self.criterion)]
        return draw_operation_bars(tables["operations"], title, quantities)

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        edges = [rows for _, rows in by_edge(tables["operations"])]
        differ = sum(picked(rows, "alpha") != picked(rows, "strength") for rows in edges)
        taus = mean([tau(rows, "alpha", "strength") for rows in edges])
        agreement = "" if taus is None else f" Kendall's tau between the orders is {taus:+.2f}, mean over the edges."
        noise = mean([row["standard_error"] for row in tables["operations"]])
        scale = 100 if self.criterion == "accuracy" else 1
        unit = "points" if self.criterion == "accuracy" else "nats"
        error = "" if noise is None else f" A strength has a standard error of {scale * noise:.2g} {unit} on average."
        skips = ""
        if any(row["operation"] == "skip_connect" for row in tables["operations"]):
            by_alpha, by_strength = (
                sum(picked(rows, column) == "skip_connect" for rows in edges) for column in ("alpha", "strength")
            )
            skips = f" Magnitude picks skip_connect on {by_alpha} of them, perturbation on {by_strength}."
        return (
            f"On {differ} of {len(edges)} edges the operation with the largest softmax(alpha) is not the one whose "
            f"removal hurts most.{skips}{agreement}{error}"
        )


def perturbed(supernet: Supernet, edge: Edge, scorer: Scorer, criterion: Criterion) -> Table:
    """Return a row per operation of an edge: its weight, and how much worse the supernet is without it."""
    weights = supernet.mixture_weights().detach()
    without = [weights.masked(edge.cell, edge.number, index) for index in range(len(edge.operations))]
    *scores, unmasked = scorer([*without, weights])
    column = get_args(Criterion).index(criterion)
    mixture = weights[edge.cell][edge.number].tolist()
    return [
        {
            "cell": edge.cell,
            "edge": edge.name,
            "operation": operation,
            "alpha": mixture[index],
            "accuracy_without": scores[index].accuracy,
            "loss_without": scores[index].loss,
            "accuracy": unmasked.accuracy,
            "loss": unmasked.loss,
            "strength": perturbation_loss(scores[index], criterion) - perturbation_loss(unmasked, criterion),
            "standard_error": standard_error_of_difference(scores[index], unmasked, column),
        }
        for index, operation in enumerate(edge.operations)
    ]


def strength_bars(criterion: Criterion) -> Quantity:
    """Return how the strengths of `perturbed` are drawn."""
    if criterion == "accuracy":
        return Quantity("strength", "accuracy lost\nwithout it (points)", 100, "standard_error")
    return Quantity("strength", "loss gained\nwithout it (nats)", 1, "standard_error")


def picked(rows: Table, column: str) -> str:
    """Return the operation with the largest value in a column; the first wins ties."""
    return str(max(rows, key=lambda row: row[column])["operation"])
