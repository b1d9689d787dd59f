"""Test accuracy before and after layers or edges change places, of supernets, VGGs and ResNets (DARTS-PT, Table 1)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import fmean, stdev
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.container import Container
from matplotlib.figure import Figure
from torch import Tensor, nn

from archselect.analysis.base import (
    Analysis,
    AnalysisContext,
    AnalysisStage,
    Measurer,
    Prepared,
    Table,
    Tables,
    accuracy,
    check_accuracy,
)
from archselect.analysis.stats import percent, rows_by
from archselect.distributed.rng import generator_for
from archselect.evaluation import Retraining
from archselect.figures.style import BLUE, VERMILLION, Rows, add_legend, new_figure, styled
from archselect.models.discrete.vgg_resnet import ReferenceKind, ReferenceNetwork
from archselect.models.restored_state import restored_state
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixed_ops import SharedOperation
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.config import identity_of
from archselect.pipeline.evaluation_stage import NETWORK, retrain
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import run_stage
from archselect.safe_io.tensors import load_into
from archselect.store import StageKey
from archselect.training.fit import StageTrainer
from archselect.utils.validation import POSITIVE_INT, Constraint, PositiveInt

VERSION = 1
"""Raised when a change of the code changes what the training of a reference network results in."""

REFERENCES: tuple[ReferenceKind, ...] = ("vgg", "resnet")
_NAMES = {"vgg": "VGG", "resnet": "ResNet", "supernet": "supernet"}

TWO_OR_MORE = Constraint("be 2 or more: two layers of a stage change places", lambda n: POSITIVE_INT.holds(n) and n > 1)

Shuffled = Callable[[torch.Generator | None], AbstractContextManager[Callable[[Tensor], Tensor]]]
"""Of a generator, a network in which two layers or edges have changed places for a while; none have without one."""


@dataclass(frozen=True)
class Shuffle(Analysis):
    """Exchange two layers in each stage of a VGG and a ResNet, two edges in every cell of the supernet, and test.

    An edge takes its operations, their weights and statistics and its mixture weights along; what it reads and what it
    feeds stay. Mixture weights are those of a cell type, so all cells of a type exchange the same two edges. The
    reference networks are trained on the run's images.
    """

    name: str
    recipe: Retraining
    shuffles: PositiveInt
    channels: PositiveInt
    layers: Annotated[int, TWO_OR_MORE]
    batch_norm: Literal["running", "batch"]

    def check(self, runs: Sequence[FinishedRun]) -> None:
        check_accuracy(f"analysis={self.name}", "trains networks that classify, to compare with chance", runs)
        for name, pairs in swappable(runs[0].supernet()).items():
            if not pairs:
                raise ValueError(
                    f"analysis=shuffle exchanges two edges of every cell, but no two edges of the {name} cell of "
                    f"{runs[0].parts.space.name!r} have the same candidates and the same stride. Name a run in another "
                    "space, such as s2."
                )

    def prepare(self, context: AnalysisContext) -> Prepared:
        """Return the trained reference networks."""
        return {kind: run_stage(self._reference(context, kind), context.job) for kind in REFERENCES}

    def _reference(self, context: AnalysisContext, kind: ReferenceKind) -> AnalysisStage:
        """Return the stage that trains a reference network from scratch."""
        run, shape = context.run, self._shape(kind)
        of_run = identity_of(run.config, run.parts.data.fingerprint())["evaluation"]
        recipe = {name: value for name, value in context.options["recipe"].items() if name not in ("name", "capture")}
        config = {"network": shape, **{name: of_run[name] for name in ("seed", "precision", "data")}, "recipe": recipe}
        label = f"{kind}-{run.parts.data.label}-seed{run.parts.seed}"

        def train(trainer: StageTrainer) -> Mapping[str, Any]:
            data = run.parts.data
            network = partial(ReferenceNetwork, **shape, classes=data.classes, in_channels=data.channels)
            return retrain(network, self.recipe, context.job, trainer)

        return AnalysisStage(StageKey("analysis", label, {"version": VERSION, **config}), config, train)

    def _shape(self, kind: ReferenceKind) -> dict[str, Any]:
        return {"kind": kind, "channels": self.channels, "layers": self.layers}

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return a row per network and draw."""
        measurer.start((1 + self.shuffles) * (1 + len(prepared)))
        rows: Table = []
        for kind in REFERENCES:
            data = measurer.run.parts.data
            network = ReferenceNetwork(**self._shape(kind), classes=data.classes, in_channels=data.channels)
            load_into(network, prepared[kind].folder.path / NETWORK)
            network.eval().to(measurer.device)
            rows += self._rows(measurer, kind, partial(swapped_layers, network))
        supernet = measurer.supernet().train(self.batch_norm == "batch")
        return {"draws": rows + self._rows(measurer, "supernet", partial(swapped_edges, supernet))}

    def _rows(self, measurer: Measurer, name: str, shuffled: Shuffled) -> Table:
        def test(generator: torch.Generator | None = None) -> float:
            with shuffled(generator) as network:
                return accuracy(network, measurer.test())

        parts = measurer.run.parts
        before, chance = measurer.cached(f"{name} before", test), 1 / parts.data.classes
        rows = []
        for draw in range(1, self.shuffles + 1):
            generator = generator_for(parts.seed, "analysis", "shuffle", draw)
            after = measurer.cached(f"{name} shuffle {draw}", partial(test, generator))
            rows.append({"network": name, "draw": draw, "before": before, "after": after, "chance": chance})
        return rows

    @styled
    def draw(self, tables: Tables) -> Figure:
        """Draw, per network, the accuracy before, after each draw, and its mean ± standard deviation."""
        by_network = dict(rows_by(tables["draws"], "network"))
        before = [100 * rows[0]["before"] for rows in by_network.values()]
        after = 100 * np.array([[row["after"] for row in rows] for rows in by_network.values()])
        position, means, draws = np.arange(len(by_network)), after.mean(axis=1), after.shape[1]
        figure, body = new_figure("Test accuracy before and after layers (edges) change places", 3.2)
        axes = body.subplots()
        spots = np.add.outer(position + 0.06, 0.2 * (np.arange(draws) + 0.5) / draws).ravel()
        chance = 100 * tables["draws"][0]["chance"]
        handles: list[Artist | Container] = [
            axes.bar(position - 0.2, before, 0.36, color=BLUE, label="before"),
            axes.bar(position + 0.2, means, 0.36, color="#F4CDB2", label="after: mean ± std"),
            *axes.plot(spots, after.ravel(), "o", color=VERMILLION, markersize=4, label="after: each draw"),
            axes.axhline(chance, color="0.4", linewidth=1.1, linestyle="--", label="chance", zorder=3),
        ]
        add_legend(body, handles)
        if draws > 1:
            deviations = after.std(axis=1, ddof=1)
            axes.errorbar(position + 0.33, means, deviations, fmt="none", ecolor="0.2", elinewidth=1.2, capsize=3)
        axes.grid(axis="x", visible=False)
        axes.set_xticks(position, [_NAMES[name] for name in by_network])
        axes.tick_params(axis="x", labelsize=8, length=0)
        axes.set(ylabel="test accuracy (%)", ylim=(0, None))
        return figure

    def summary(self, tables: Tables) -> str:
        words = []
        for network, own in rows_by(tables["draws"], "network"):
            after = [100 * row["after"] for row in own]
            spread = f" ± {stdev(after):.1f}" if len(after) > 1 else ""
            left = kept(own)
            rest = "barely better than chance to begin with" if left is None else f"{percent(left, 0)} of what is above"
            words.append(f"{network} {percent(own[0]['before'])} before, {fmean(after):.1f}{spread} % after ({rest})")
        return (
            f"Test accuracy: {'; '.join(words)} (chance is {percent(tables['draws'][0]['chance'])}). In the paper (VGG "
            "92.69 to 9.83, ResNet 93.86 to 83.20, supernet 88.44 to 81.09 %) only the VGG falls to chance."
        )


def kept(rows: Rows) -> float | None:
    """Return the share of a network's accuracy above chance that is left after shuffling, mean over the draws.

    None for a network that is right less than twice as often as chance to begin with.
    """
    chance, before = rows[0]["chance"], rows[0]["before"]
    if before < 2 * chance:
        return None
    return float((fmean(row["after"] for row in rows) - chance) / (before - chance))


def swappable(supernet: Supernet) -> dict[str, list[tuple[int, int]]]:
    """Return, of every cell type, the pairs of edges with the same candidates and the same stride in all its cells."""
    halved = {cell.space.name for cell in _cells(supernet) if cell.stride > 1}
    found = {}
    for name, space in supernet.cell_spaces.items():
        sources = [source for source, _ in space.topology.edges]
        strides = [name in halved and source < space.topology.inputs for source in sources]
        kinds = list(zip(space.operations, strides, strict=True))
        found[name] = [(one, other) for one, other in combinations(range(len(kinds)), 2) if kinds[one] == kinds[other]]
    return found


def _cells(supernet: Supernet) -> list[MixedCell]:
    return [module for module in supernet.modules() if isinstance(module, MixedCell)]


@contextmanager
def _swapped(swap: Callable[..., None], pairs: Sequence[tuple[Any, ...]]) -> Iterator[None]:
    """Let pairs change places for a while; the same again brings them back."""
    for pair in pairs:
        swap(*pair)
    try:
        yield
    finally:
        for pair in pairs:
            swap(*pair)


@contextmanager
def swapped_layers(network: ReferenceNetwork, generator: torch.Generator | None) -> Iterator[ReferenceNetwork]:
    """Let two random layers of each stage change places for a while; none without a generator."""
    stages = range(0 if generator is None else len(network.stages))
    drawn = [(stage, *torch.randperm(network.layers, generator=generator)[:2].tolist()) for stage in stages]
    with _swapped(network.swap_layers, drawn):
        yield network


@contextmanager
def swapped_edges(supernet: Supernet, generator: torch.Generator | None) -> Iterator[Callable[[Tensor], Tensor]]:
    """Let two random edges of every cell type change operations and weights for a while; none without a generator."""
    drawn = {}
    for name, pairs in swappable(supernet).items() if generator is not None else ():
        drawn[name] = pairs[int(torch.randint(len(pairs), (), generator=generator))]
    weights = with_rows_swapped(supernet.mixture_weights().detach(), drawn)
    cells = _cells(supernet) if drawn else []
    with _swapped(swap_edges, [(cell, *drawn[cell.space.name]) for cell in cells]), restored_state(supernet):
        yield lambda images: supernet(images, weights)


@torch.no_grad()
def swap_edges(cell: MixedCell, first: int, second: int) -> None:
    """Let two edges swap operations: what one computed on its source, the other computes on its own.

    They have the same candidates and the same stride. Weights and statistics go over; what an operation without weights
    has of statistics stays with its source.
    """
    sources = [cell.space.topology.edges[edge][0] for edge in (first, second)]
    for name in set(cell.space.operations[first]) - {"none"}:
        operations = [cast(nn.ModuleDict, cell.operations[source])[name] for source in sources]
        if isinstance(operations[0], SharedOperation):
            continue
        stacks = [cell.space.stacks(source)[name] for source in sources]
        for one, other in zip(*(operation.state_dict().values() for operation in operations), strict=True):
            row = one.view(len(stacks[0]), -1)[stacks[0].index(first)]
            other_row = other.view(len(stacks[1]), -1)[stacks[1].index(second)]
            kept = row.clone()
            row.copy_(other_row)
            other_row.copy_(kept)


def with_rows_swapped(weights: MixtureWeights, pairs: Mapping[str, tuple[int, int]]) -> MixtureWeights:
    """Return mixture weights in which two edges of each cell type have each other's."""
    rows: dict[str, Tensor] = {}
    active = {}
    for name, (first, second) in pairs.items():
        order = list(range(len(weights[name])))
        order[first], order[second] = second, first
        rows[name] = weights[name][order]
        active[name] = tuple(weights.active[name][edge] for edge in order)
    return weights.replaced(rows, active)
