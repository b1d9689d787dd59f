"""What magnitude picks on every edge, and what perturbation picks (DARTS-PT, Fig. 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, get_args

from matplotlib.figure import Figure

from archselect.analysis.analysis import Table, Tables
from archselect.analysis.bench import Bench
from archselect.analysis.edges import Edge, by_edge, open_edges, tau
from archselect.analysis.subject import Subject
from archselect.analysis.words import mean
from archselect.checks import check_choice
from archselect.figures.operation_bars import Quantity, draw_operation_bars
from archselect.networks.supernet import Supernet
from archselect.runs import FinishedRun
from archselect.selection import Scorer, Scoring
from archselect.selection.inputs import harm
from archselect.selection.race import Criterion
from archselect.selection.score import standard_error_of_difference
from archselect.selection.selector import check_unraced
from archselect.stages.job import Finished


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
        check_choice("analysis.criterion", self.criterion, get_args(Criterion))
        check_unraced(self.name, self.scoring)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""

    def prepare(self, subject: Subject) -> Mapping[str, Finished]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Bench, prepared: Mapping[str, Finished]) -> Tables:
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
            "strength": harm(scores[index], criterion) - harm(unmasked, criterion),
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
