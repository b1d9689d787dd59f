"""What magnitude picks on every edge, and what perturbation picks (DARTS-PT, Fig. 2)."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, get_args

from matplotlib.figure import Figure

from archselect.analysis.base import Analysis, Measurer, Prepared, Table, Tables, metric_of
from archselect.analysis.stats import SKIP, Edge, edges_of, mean_defined, open_edges, picked, tau
from archselect.figures.strengths import Quantity, draw_operation_bars
from archselect.models.supernet.supernet import Supernet
from archselect.results.metric import ACCURACY, Metric
from archselect.selection import Scorer, Scoring
from archselect.selection.scoring import Criterion, Racing, perturbation_loss, standard_error_of_difference
from archselect.utils.validation import Constraint

UNRACED = Constraint(
    "score every candidate to the end, so it is no race",
    lambda value: isinstance(value, Scoring) and not isinstance(value, Racing),
)
Unraced = Annotated[Scoring, UNRACED]


@dataclass(frozen=True)
class OperationStrength(Analysis):
    """On the supernet as the search left it, mask each operation of each edge, and look at `softmax(alpha)` beside it.

    Nothing is decided and nothing tuned in between, so all edges are seen in the same supernet. (The paper's figure
    shows the metric at convergence after discretising: see `DiscretizationAccuracy`.)
    """

    name: str
    criterion: Criterion
    scoring: Unraced

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return per operation its weight and what the supernet is without it."""
        supernet = measurer.supernet()
        scorer = measurer.scorer(supernet, self.scoring)
        edges = open_edges(supernet)
        measurer.start(len(edges))
        rows: Table = []
        for edge in edges:
            measure = partial(perturbed, supernet, edge, scorer, self.criterion)
            rows += measurer.cached(f"{edge.cell} {edge.name}", measure)
        return {"operations": rows}

    def draw(self, tables: Tables) -> Figure:
        title = "softmax(α) and perturbation strength of the operations of every edge"
        what, factor, unit = self._measured(metric_of(tables))
        label = f"{what}\nwithout it" + (f" ({unit})" if unit else "")
        strength = Quantity("strength", label, factor, "standard_error")
        return draw_operation_bars(tables["operations"], title, [Quantity("alpha", "softmax(α)"), strength])

    def _measured(self, metric: Metric) -> tuple[str, float, str]:
        """Return what a strength is, by what it is multiplied before it is shown, and its unit then."""
        if self.criterion == "loss":
            return "loss gained", 1, "nats" if metric == ACCURACY else ""
        return f"{metric.words} {metric.harm}", metric.factor, "points" if metric.is_share else ""

    def summary(self, tables: Tables) -> str:
        rows, edges = tables["operations"], edges_of(tables["operations"])
        differ = sum(picked(edge, "alpha") != picked(edge, "strength") for edge in edges)
        words = (
            f"On {differ} of {len(edges)} edges the operation with the largest softmax(alpha) is not the one whose "
            "removal hurts most."
        )
        if any(row["operation"] == SKIP for row in rows):
            alpha, strength = (sum(picked(edge, name) == SKIP for edge in edges) for name in ("alpha", "strength"))
            words += f" Magnitude picks skip_connect on {alpha} of them, perturbation on {strength}."
        if (agreement := mean_defined(tau(edge, "alpha", "strength") for edge in edges)) is not None:
            words += f" Kendall's tau between the orders is {agreement:+.2f}, mean over the edges."
        if (noise := mean_defined(row["standard_error"] for row in rows)) is not None:
            _, factor, unit = self._measured(metric_of(tables))
            words += f" A strength has a standard error of {factor * noise:.2g} {unit}".rstrip() + " on average."
        return words


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
            "alpha": alpha,
            f"{score.name}_without": score.metric,
            "loss_without": score.loss,
            unmasked.name: unmasked.metric,
            "loss": unmasked.loss,
            "strength": perturbation_loss(score, criterion) - perturbation_loss(unmasked, criterion),
            "standard_error": standard_error_of_difference(score, unmasked, column),
        }
        for operation, alpha, score in zip(edge.operations, mixture, scores, strict=False)
    ]
