"""The curvature of the validation loss in `alpha` along the search, and the metric around the final `alpha`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import sqrt
from typing import Annotated

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from pandas import DataFrame
from torch import Tensor

from archselect.analysis.base import Analysis, Measurer, Prepared, Tables, metric_of
from archselect.analysis.operation_strength import Unraced
from archselect.distributed.rng import generator_for
from archselect.figures.style import BLUE, VERMILLION, Rows, new_figure, styled, whole_numbers
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.finished_run import FinishedRun
from archselect.results.metric import Metric
from archselect.search import Curvature
from archselect.selection import Scorer
from archselect.utils.validation import POSITIVE_INT, Constraint, PositiveFloat

ODD = Constraint("be odd and at least 3, for a middle", lambda n: POSITIVE_INT.holds(n) and n >= 3 and n % 2 == 1)


@dataclass(frozen=True)
class Landscape(Analysis):
    """The dominant eigenvalue of the Hessian in `alpha`, and a random plane of `alpha`.

    Where the eigenvalue is large, the supernet does not bear that `alpha` is rounded to an architecture (RobustDARTS,
    Zela et al., ICLR 2020, sec. 4; SDARTS, Chen and Hsieh, ICML 2020, Fig. 1). The plane is a square through the
    `alpha` that the search left, along two random orthonormal directions in the space of all entries of undecided
    edges. In the paper's search `alpha` begins with entries of 0.001, and moves by up to 3e-4 in a step.
    """

    name: str
    radius: PositiveFloat
    points: Annotated[int, ODD]
    curvature: Curvature
    scoring: Unraced

    def check(self, runs: Sequence[FinishedRun]) -> None:
        if free_entries(runs[0].supernet()).sum() < 2:
            raise ValueError(
                f"analysis={self.name} moves alpha, but the search of the run {runs[0].folder} decided every edge. "
                "Name a run whose search left some."
            )

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return the eigenvalue of every snapshot and of the end, and the metric at every point of the plane."""
        run = measurer.run
        last = run.stage("search").result["kept_epochs"]
        epochs = [*(epoch for epoch in run.snapshots if epoch < last), last]
        supernet = measurer.supernet()
        plane = points_of_plane(supernet, self.radius, self.points, run.parts.seed)
        measurer.start(len(epochs) + len(plane))
        eigenvalues = []
        for epoch in epochs:
            measure = partial(self._eigenvalue, measurer, None if epoch == last else epoch)
            eigenvalues.append({"epoch": epoch, "eigenvalue": measurer.cached(f"eigenvalue {epoch}", measure)})
        scorer = measurer.scorer(supernet, self.scoring)
        rows = []
        for (x, y), alphas in plane.items():
            score = partial(_metric_at, supernet, alphas, scorer)
            rows.append({"x": x, "y": y, measurer.metric.name: measurer.cached(f"({x:.4g}, {y:.4g})", score)})
        return {"plane": rows, "eigenvalues": eigenvalues}

    def _eigenvalue(self, measurer: Measurer, snapshot: int | None) -> float:
        generator = generator_for(measurer.run.parts.seed, "analysis", "curvature")
        batches = measurer.validation(self.curvature.batch_size, self.curvature.batches)
        return self.curvature.measure(measurer.supernet(snapshot), measurer.context.job.fitted_task, batches, generator)

    @styled
    def draw(self, tables: Tables) -> Figure:
        metric = metric_of(tables)
        figure, body = new_figure(f"Curvature in α along the search, and {metric.words} around the final α", 3.3)
        curve, plane = body.subplots(1, 2, width_ratios=[1, 1.15])
        epochs, eigenvalues = ([row[name] for row in tables["eigenvalues"]] for name in ("epoch", "eigenvalue"))
        curve.plot(epochs, eigenvalues, color=BLUE, marker="o")
        curve.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
        curve.set(xlabel="epochs of the search", ylabel="dominant eigenvalue of the Hessian")
        whole_numbers(curve)
        _draw_plane(body, plane, tables["plane"], metric)
        return figure

    def summary(self, tables: Tables) -> str:
        curve, plane, metric = tables["eigenvalues"], tables["plane"], metric_of(tables)
        first, last = curve[0], curve[-1]
        highest = max(curve, key=lambda row: abs(row["eigenvalue"]))
        words = (
            f"goes from {first['eigenvalue']:.3g} after epoch {first['epoch']} to {last['eigenvalue']:.3g} after epoch "
            f"{last['epoch']}; it is largest after epoch {highest['epoch']} ({highest['eigenvalue']:.3g})."
        )
        if len(curve) == 1:
            words = (
                f"is {last['eigenvalue']:.3g} at the end of the search (which kept no snapshots: search.snapshots=N "
                "shows its course)."
            )
        middle = next(row[metric.name] for row in plane if row["x"] == row["y"] == 0)
        worst = min((row[metric.name] for row in plane), key=lambda value: metric.sign * value)
        return (
            f"The dominant eigenvalue of the Hessian in alpha {words} Around the final alpha, the validation "
            f"{metric.words} is {metric.amount(middle, 1)} in the middle of the plane and {metric.amount(worst, 1)} at "
            f"its worst point, with entries of alpha moved by up to {max(row['x'] for row in plane):.3g} each way."
        )


def free_entries(supernet: Supernet) -> Tensor:
    """Return which entries of all `alpha`, one after the other, are those of undecided edges, `(entries,)` of bool."""
    undecided = torch.cat([mixed.flatten() for mixed in supernet.mixed.values()]).bool()
    exist = torch.cat([supernet.masked_alpha(name).detach().isfinite().flatten() for name in supernet.cell_spaces])
    return undecided & exist


def points_of_plane(
    supernet: Supernet, radius: float, points: int, seed: int
) -> dict[tuple[float, float], dict[str, Tensor]]:
    """Return the `alpha` of every point of the plane, an odd number of `points` per side.

    The supernet's own are the middle; the two directions are random, orthonormal, and zero in decided edges. The
    outermost points of an axis are `radius` away from the middle: the root mean square over the entries.
    """
    free = free_entries(supernet)
    drawn = torch.randn(len(free), 2, generator=generator_for(seed, "analysis", "plane"), dtype=torch.float64)
    first, second = torch.linalg.qr(drawn * free.cpu().unsqueeze(1)).Q.unbind(dim=1)
    length = radius * sqrt(int(free.sum()))
    steps = [2 * index / (points - 1) - 1 for index in range(points)]
    middle = {name: alpha.detach() for name, alpha in supernet.alphas.items()}
    found = {}
    for y, x in product(steps, repeat=2):
        offset = (length * (x * first + y * second)).to(free.device, torch.float32)
        parts = offset.split([alpha.numel() for alpha in middle.values()])
        moved = zip(middle.items(), parts, strict=True)
        found[radius * x, radius * y] = {name: alpha + part.view_as(alpha) for (name, alpha), part in moved}
    return found


def weights_at(supernet: Supernet, alphas: Mapping[str, Tensor]) -> MixtureWeights:
    """Return the mixture weights that the supernet would have with other `alpha`, `(edges, operations)` each."""
    weights = supernet.mixture_weights().detach()
    at = {}
    for name, alpha in alphas.items():
        missing = supernet.masked_alpha(name).detach().isinf()
        relaxed = supernet.relaxation.mean(alpha.masked_fill(missing, -torch.inf))
        mixed = supernet.mixed[name]
        at[name] = relaxed * mixed + weights[name] * (1 - mixed)
    return weights.replaced(at)


def _metric_at(supernet: Supernet, alphas: Mapping[str, Tensor], scorer: Scorer) -> float:
    return scorer([weights_at(supernet, alphas)])[0].metric


def _draw_plane(figure: SubFigure, axes: Axes, plane: Rows, metric: Metric) -> None:
    shown = metric.factor * DataFrame(plane).pivot(index="y", columns="x", values=metric.name)
    image = axes.pcolormesh(shown.columns, shown.index, shown, cmap="cividis", shading="nearest")
    axes.plot(0, 0, marker="x", color=VERMILLION, markersize=8, markeredgewidth=2)
    axes.set(title="×: the final α", xlabel="first direction (α moved by, root mean square)", ylabel="second direction")
    axes.set_aspect("equal")
    axes.grid(visible=False)
    axes.locator_params(nbins=5)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=25, label=f"validation {metric.label}")
    bar.outline.set_visible(False)
