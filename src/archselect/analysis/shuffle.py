"""Test accuracy before and after layers or edges change places, of supernets, VGGs and ResNets (DARTS-PT, Table 1)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from statistics import fmean, stdev
from typing import Any, Literal, cast

import torch
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor, nn

from archselect.analysis.base import Analysis, AnalysisContext, Measurer, Table, Tables, accuracy
from archselect.analysis.stats import percent, rows_by
from archselect.distributed.rng import generator_for
from archselect.evaluation import Retraining
from archselect.figures.style import BLUE, VERMILLION, Rows, add_legend, legend_dot, new_figure, styled
from archselect.models.cell_space import CellSpace
from archselect.models.discrete.vgg_resnet import ReferenceKind, ReferenceNetwork
from archselect.models.restored_state import restored_state
from archselect.models.supernet.mixed_cell import MixedCell
from archselect.models.supernet.mixed_ops import SharedOperation
from archselect.models.supernet.mixture import MixtureWeights
from archselect.models.supernet.supernet import Supernet
from archselect.pipeline.config import identity_of
from archselect.pipeline.evaluation_stage import NETWORK, retrain
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import StageContext, StageResult, run_stage
from archselect.safe_io.tensors import load_into
from archselect.store import StageKey
from archselect.training.fit import StageTrainer
from archselect.utils.validation import PositiveInt, check_fields

VERSION = 1
"""Raised when a change of the code changes what `ReferenceStage` results in."""

REFERENCES: tuple[ReferenceKind, ...] = ("vgg", "resnet")
_NAMES = {"vgg": "VGG", "resnet": "ResNet", "supernet": "supernet"}
_PALE = "#F4CDB2"
_CHANCE: dict[str, Any] = {"color": "0.4", "linewidth": 1.1, "linestyle": "--", "label": "chance"}


@dataclass(frozen=True, kw_only=True)
class Shuffle(Analysis):
    """Exchange two layers in each stage of a VGG and a ResNet, two edges in every cell of the supernet, and test.

    An edge takes its operations, their weights and statistics and its mixture weights along; what it reads and what it
    feeds stay. Mixture weights are those of a cell type, so all cells of a type exchange the same two edges. The
    reference networks are trained on the run's images.

    Attributes:
        recipe: How the reference networks are trained.
        shuffles: How often it is drawn which two.
        channels: Of the first stage of the reference networks.
        layers: Of equal shape in each of their stages.
        batch_norm: Of the supernet: `running`: the statistics of its training; `batch`: those of each test batch.
    """

    name: str = "shuffle"
    recipe: Retraining
    shuffles: PositiveInt = 10
    channels: PositiveInt = 16
    layers: PositiveInt = 4
    batch_norm: Literal["running", "batch"] = "running"

    def __post_init__(self) -> None:
        check_fields(self, "analysis")
        if self.layers < 2:
            raise ValueError("analysis.layers must be 2 or more: two layers of a stage change places.")

    def check(self, runs: Sequence[FinishedRun]) -> None:
        for name, pairs in swappable(runs[0].supernet()).items():
            if not pairs:
                raise ValueError(
                    f"analysis=shuffle exchanges two edges of every cell, but no two edges of the {name} cell of "
                    f"{runs[0].parts.space.name!r} have the same candidates and the same stride. Name a run in another "
                    "space, such as s2."
                )

    def prepare(self, context: AnalysisContext) -> Mapping[str, StageResult]:
        """Return the trained reference networks."""
        return {kind: run_stage(self._reference(context, kind), context.job) for kind in REFERENCES}

    def _reference(self, context: AnalysisContext, kind: ReferenceKind) -> "ReferenceStage":
        run = context.run
        of_run = identity_of(run.config, run.parts.data.fingerprint())["evaluation"]
        recipe = {name: value for name, value in context.options["recipe"].items() if name not in ("name", "capture")}
        identity = {name: of_run[name] for name in ("seed", "precision", "data")} | {"recipe": recipe}
        label = f"{kind}-{run.parts.data.label}-seed{run.parts.seed}"
        return ReferenceStage(context.job, self._shape(kind), self.recipe, identity, label)

    def _shape(self, kind: ReferenceKind) -> dict[str, Any]:
        return {"kind": kind, "channels": self.channels, "layers": self.layers}

    def measure(self, measurer: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return a row per network and draw."""
        measurer.start((1 + self.shuffles) * (1 + len(prepared)))
        rows: Table = []
        for kind in REFERENCES:
            network = ReferenceNetwork(**self._shape(kind), classes=measurer.run.parts.data.classes)
            load_into(network, prepared[kind].folder.path / NETWORK)
            network.eval().to(measurer.device)
            rows += self._rows(measurer, kind, partial(self._test_reference, measurer, network))
        supernet = measurer.supernet()
        return {"draws": rows + self._rows(measurer, "supernet", partial(self._test_supernet, measurer, supernet))}

    def _rows(self, measurer: Measurer, network: str, test: Callable[[torch.Generator | None], float]) -> Table:
        parts = measurer.run.parts
        before = measurer.cached(f"{network} before", partial(test, None))
        rows = []
        for draw in range(1, self.shuffles + 1):
            generator = generator_for(parts.seed, "analysis", "shuffle", draw)
            after = measurer.cached(f"{network} shuffle {draw}", partial(test, generator))
            row = {"network": network, "draw": draw, "before": before, "after": after}
            rows.append({**row, "chance": 1 / parts.data.classes})
        return rows

    def _test_reference(
        self, measurer: Measurer, network: ReferenceNetwork, generator: torch.Generator | None
    ) -> float:
        with swapped_layers(network, generator):
            return accuracy(network, measurer.test())

    def _test_supernet(self, measurer: Measurer, supernet: Supernet, generator: torch.Generator | None) -> float:
        with swapped_edges(supernet, generator) as weights, restored_state(supernet):
            supernet.train(self.batch_norm == "batch")
            return accuracy(lambda images: supernet(images, weights), measurer.test())

    @styled
    def draw(self, tables: Tables) -> Figure:
        """Draw, per network, the accuracy before, after each draw, and its mean ± standard deviation."""
        rows = tables["draws"]
        figure, body = new_figure("Test accuracy before and after layers (edges) change places", 3.2)
        handles: list[Artist] = [Patch(color=BLUE, label="before"), Patch(color=_PALE, label="after: mean ± std")]
        add_legend(body, [*handles, legend_dot("after: each draw", VERMILLION, filled=True), Line2D([], [], **_CHANCE)])
        axes = body.subplots()
        axes.grid(axis="x", visible=False)
        by_network = dict(rows_by(rows, "network"))
        for position, own in enumerate(by_network.values()):
            after = [100 * row["after"] for row in own]
            axes.bar(position - 0.2, 100 * own[0]["before"], 0.36, color=BLUE)
            axes.bar(position + 0.2, fmean(after), 0.36, color=_PALE)
            spots = [position + 0.16 + 0.2 * ((index + 0.5) / len(after) - 0.5) for index in range(len(after))]
            axes.plot(spots, after, "o", color=VERMILLION, markersize=4)
            if len(after) > 1:
                axes.errorbar(position + 0.33, fmean(after), stdev(after), color="0.2", capsize=3, linewidth=1.2)
        axes.axhline(100 * rows[0]["chance"], **_CHANCE, zorder=3)
        axes.set_xticks(range(len(by_network)), [_NAMES[name] for name in by_network])
        axes.tick_params(axis="x", labelsize=8, length=0)
        axes.set_ylabel("test accuracy (%)")
        axes.set_ylim(0, None)
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


@dataclass(frozen=True)
class ReferenceStage:
    """Trains a reference network from scratch.

    Attributes:
        job: What all stages share.
        shape: Arguments of `ReferenceNetwork`.
        recipe: How it is trained.
        identity: Everything else that determines the result: the recipe's options, the images, the precision, the seed.
        label: Readable name.
    """

    job: StageContext
    shape: dict[str, Any]
    recipe: Retraining
    identity: Mapping[str, Any]
    label: str

    @property
    def key(self) -> StageKey:
        """What determines the result."""
        return StageKey("analysis", self.label, {"version": VERSION, "network": self.shape, **self.identity})

    @property
    def config(self) -> Mapping[str, Any]:
        """What the stage was made from."""
        return {"network": self.shape, **self.identity}

    def run(self, stage_trainer: StageTrainer) -> Mapping[str, Any]:
        """Train and test the network."""
        classes = self.job.data.classes
        return retrain(lambda: ReferenceNetwork(**self.shape, classes=classes), self.recipe, self.job, stage_trainer)


def swappable(supernet: Supernet) -> dict[str, list[tuple[int, int]]]:
    """Return, of every cell type, the pairs of edges with the same candidates and the same stride in all its cells."""
    halved = {cell.space.name for cell in _cells(supernet) if cell.stride > 1}
    return {name: _pairs(space, name in halved) for name, space in supernet.cell_spaces.items()}


def _pairs(space: CellSpace, halved: bool) -> list[tuple[int, int]]:
    edges = space.topology.edges
    shapes = [(space.operations[edge], halved and edges[edge][0] < space.topology.inputs) for edge in range(len(edges))]
    return [(one, other) for one, other in combinations(range(len(edges)), 2) if shapes[one] == shapes[other]]


def _cells(supernet: Supernet) -> list[MixedCell]:
    return [module for module in supernet.modules() if isinstance(module, MixedCell)]


@contextmanager
def swapped_layers(network: ReferenceNetwork, generator: torch.Generator | None) -> Iterator[None]:
    """Let two random layers of each stage change places for a while; none without a generator."""
    pairs = []
    for stage in range(len(network.stages) if generator is not None else 0):
        first, second = torch.randperm(network.layers, generator=generator)[:2].tolist()
        pairs.append((stage, first, second))
    for pair in pairs:
        network.swap_layers(*pair)
    try:
        yield
    finally:
        for pair in pairs:
            network.swap_layers(*pair)


@contextmanager
def swapped_edges(supernet: Supernet, generator: torch.Generator | None) -> Iterator[MixtureWeights]:
    """Let two random edges of every cell type change operations for a while; yields the weights that go along.

    Nothing changes without a generator.
    """
    weights = supernet.mixture_weights().detach()
    if generator is None:
        yield weights
        return
    drawn = {}
    for name, pairs in swappable(supernet).items():
        drawn[name] = pairs[int(torch.randint(len(pairs), (), generator=generator))]
    for cell in _cells(supernet):
        swap_edges(cell, *drawn[cell.space.name])
    try:
        yield with_rows_swapped(weights, drawn)
    finally:
        for cell in _cells(supernet):
            swap_edges(cell, *drawn[cell.space.name])


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
