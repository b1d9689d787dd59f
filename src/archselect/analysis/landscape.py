"""The curvature of the validation loss in `alpha` along the search, and the accuracy around the final `alpha`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import sqrt

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from archselect.analysis.base import Analysis, Measurer, Table, Tables
from archselect.analysis.stats import percent
from archselect.distributed.rng import generator_for
from archselect.figures.style import BLUE, VERMILLION, Rows, new_figure, styled, whole_numbers
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import StageResult
from archselect.search import Curvature
from archselect.selection import Scorer, Scoring
from archselect.selection.base import check_unraced
from archselect.utils.validation import PositiveFloat, PositiveInt, check_fields


@dataclass(frozen=True)
class Landscape(Analysis):
    """The dominant eigenvalue of the Hessian in `alpha`, and a random plane of `alpha`.

    Where the eigenvalue is large, the supernet does not bear that `alpha` is rounded to an architecture (RobustDARTS,
    Zela et al., ICLR 2020, sec. 4; SDARTS, Chen and Hsieh, ICML 2020, Fig. 1). The plane goes through the `alpha` that
    the search left, along two random orthonormal directions in the space of all entries of undecided edges.

    Attributes:
        radius: Of the square plane: how far each entry of `alpha` moves at its edge, as a root mean square. In the
            paper's search `alpha` begins with entries of 0.001, and moves by up to 3e-4 in a step.
        points: Per side, odd so that the middle is one.
        curvature: How the eigenvalue is measured.
        scoring: On what the supernet is scored in the plane.
    """

    name: str = "landscape"
    radius: PositiveFloat = 1.0
    points: PositiveInt = 11
    curvature: Curvature = field(default_factory=Curvature)
    scoring: Scoring = field(default_factory=Scoring)

    def __post_init__(self) -> None:
        check_fields(self, "analysis")
        if self.points % 2 == 0 or self.points < 3:
            raise ValueError(f"analysis.points must be odd and at least 3, for a middle; got {self.points}.")
        check_unraced(self.name, self.scoring)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        if not free_entries(runs[0].supernet()).any():
            raise ValueError(
                f"analysis={self.name} moves alpha, but the search of the run {runs[0].folder} decided every edge. "
                "Name a run whose search left some."
            )

    def measure(self, measurer: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return the eigenvalue of every snapshot and of the end, and the accuracy at every point of the plane."""
        run = measurer.run
        last = run.stage("search").result["kept_epochs"]
        epochs = [*(epoch for epoch in run.snapshots if epoch < last), last]
        supernet = measurer.supernet()
        plane = points_of_plane(supernet, self.radius, self.points, run.parts.seed)
        measurer.start(len(epochs) + len(plane))
        eigenvalues: Table = []
        for epoch in epochs:
            measure = partial(self._eigenvalue, measurer, None if epoch == last else epoch)
            value = measurer.cached(f"eigenvalue {epoch}", measure)
            eigenvalues.append({"epoch": epoch, "eigenvalue": value})
        scorer = measurer.scorer(supernet, self.scoring)
        rows: Table = []
        for (x, y), alphas in plane.items():
            score = partial(_accuracy_at, supernet, alphas, scorer)
            rows.append({"x": x, "y": y, "accuracy": measurer.cached(f"({x:.4g}, {y:.4g})", score)})
        return {"plane": rows, "eigenvalues": eigenvalues}

    def _eigenvalue(self, measurer: Measurer, snapshot: int | None) -> float:
        curvature = self.curvature
        generator = generator_for(measurer.run.parts.seed, "analysis", "curvature")
        batches = measurer.validation(curvature.batch_size, curvature.batches)
        return curvature.measure(measurer.supernet(snapshot), batches, generator)

    @styled
    def draw(self, tables: Tables) -> Figure:
        figure, body = new_figure("Curvature in α along the search, and accuracy around the final α", 3.3)
        curve, plane = body.subplots(1, 2, width_ratios=[1, 1.15])
        epochs, eigenvalues = ([row[name] for row in tables["eigenvalues"]] for name in ("epoch", "eigenvalue"))
        curve.plot(epochs, eigenvalues, color=BLUE, marker="o")
        curve.axhline(0, color="0.6", linewidth=0.8, linestyle="--", zorder=0)
        curve.set(xlabel="epochs of the search", ylabel="dominant eigenvalue of the Hessian")
        whole_numbers(curve)
        _draw_plane(body, plane, tables["plane"])
        return figure

    def summary(self, tables: Tables) -> str:
        curve, plane = tables["eigenvalues"], tables["plane"]
        first, last = curve[0], curve[-1]
        if len(curve) > 1:
            highest = max(curve, key=lambda row: abs(row["eigenvalue"]))
            words = (
                f"The dominant eigenvalue of the Hessian in alpha goes from {first['eigenvalue']:.3g} after epoch "
                f"{first['epoch']} to {last['eigenvalue']:.3g} after epoch {last['epoch']}; it is largest after epoch "
                f"{highest['epoch']} ({highest['eigenvalue']:.3g})."
            )
        else:
            words = (
                f"The dominant eigenvalue of the Hessian in alpha is {last['eigenvalue']:.3g} at the end of the search "
                "(which kept no snapshots: search.snapshots=N shows its course)."
            )
        middle = next(row["accuracy"] for row in plane if row["x"] == row["y"] == 0)
        worst = min(row["accuracy"] for row in plane)
        reach = max(row["x"] for row in plane)
        return (
            f"{words} Around the final alpha, the validation accuracy is {percent(middle)} in the middle of the plane "
            f"and {percent(worst)} at its worst point, with entries of alpha moved by up to {reach:.3g} each way."
        )


def free_entries(supernet: Supernet) -> Tensor:
    """Return which entries of all `alpha`, one after the other, are those of undecided edges, `(entries,)` of bool."""
    undecided = torch.cat([mixed.flatten() for mixed in supernet.mixed.values()]).bool()
    exist = torch.cat([supernet.masked_alpha(name).detach().isfinite().flatten() for name in supernet.cell_spaces])
    return undecided & exist


def directions(free: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return two random orthonormal directions that are zero where `free` is not, each `(entries,)`."""
    drawn = torch.randn(len(free), 2, generator=generator, dtype=torch.float64) * free.cpu().unsqueeze(1)
    if int(free.sum()) < 2:
        raise ValueError("A plane of alpha needs two entries that are undecided at least.")
    basis, _ = torch.linalg.qr(drawn)
    return basis[:, 0], basis[:, 1]


def points_of_plane(
    supernet: Supernet, radius: float, points: int, seed: int
) -> dict[tuple[float, float], dict[str, Tensor]]:
    """Return the `alpha` of every point of the plane, `points` per side.

    Args:
        supernet: Its own `alpha` are the middle.
        radius: Root mean square over the entries of what the outermost points of an axis are away from the middle.
        points: Odd.
        seed: Of the run.
    """
    free = free_entries(supernet)
    first, second = directions(free, generator_for(seed, "analysis", "plane"))
    length = radius * sqrt(int(free.sum()))
    steps = [2 * index / (points - 1) - 1 for index in range(points)]
    middle = {name: alpha.detach() for name, alpha in supernet.alphas.items()}
    found = {}
    for y in steps:
        for x in steps:
            offset = (length * (x * first + y * second)).to(free.device, torch.float32)
            parts = offset.split([alpha.numel() for alpha in middle.values()])
            found[radius * x, radius * y] = {
                name: alpha + part.view_as(alpha) for (name, alpha), part in zip(middle.items(), parts, strict=True)
            }
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


def _accuracy_at(supernet: Supernet, alphas: Mapping[str, Tensor], scorer: Scorer) -> float:
    return scorer([weights_at(supernet, alphas)])[0].accuracy


def _draw_plane(figure: SubFigure, axes: Axes, plane: Rows) -> None:
    xs, ys = sorted({row["x"] for row in plane}), sorted({row["y"] for row in plane})
    values = np.full((len(ys), len(xs)), np.nan)
    for row in plane:
        values[ys.index(row["y"]), xs.index(row["x"])] = 100 * row["accuracy"]
    half = (xs[1] - xs[0]) / 2
    image = axes.imshow(
        values, origin="lower", cmap="cividis", extent=(xs[0] - half, xs[-1] + half, ys[0] - half, ys[-1] + half)
    )
    axes.plot(0, 0, marker="x", color=VERMILLION, markersize=8, markeredgewidth=2)
    axes.set_title("×: the final α")
    axes.set(xlabel="first direction (α moved by, root mean square)", ylabel="second direction")
    axes.grid(visible=False)
    axes.locator_params(nbins=5)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, aspect=25)
    bar.set_label("validation accuracy (%)")
    bar.outline.set_visible(False)
