"""Test accuracy before and after layers or edges change places, of supernets, VGGs and ResNets (DARTS-PT, Table 1)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from statistics import fmean, stdev
from typing import Any, ClassVar, Literal

import torch
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from archselect.analysis.base import AnalysisContext, Measurer, Table, Tables, accuracy
from archselect.analysis.stats import percent
from archselect.distributed.rng import generator_for
from archselect.evaluation import Retraining
from archselect.figures.style import add_legend, new_figure, styled
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
from archselect.pipeline.stage import StageContext, StageResult
from archselect.safe_io.tensors import load_into
from archselect.store import StageKey
from archselect.training.fit import StageTrainer
from archselect.utils.validation import POSITIVE_INT, one_of

VERSION = 1
"""Raised when a change of the code changes the stage's results."""


@dataclass(frozen=True)
class Shape:
    """See `ReferenceNetwork`."""

    kind: ReferenceKind
    channels: int
    layers: int


@dataclass(frozen=True)
class ReferenceStage:
    """Trains a reference network from scratch.

    Attributes:
        job: What all stages share.
        shape: Of the network.
        recipe: How it is trained.
        identity: Everything else that determines the result: the recipe's options, the images, the precision, the seed.
        label: Readable name.
    """

    job: StageContext
    shape: Shape
    recipe: Retraining
    identity: Mapping[str, Any]
    label: str

    @property
    def key(self) -> StageKey:
        """See `Stage.key`."""
        return StageKey("analysis", self.label, {"version": VERSION, "network": asdict(self.shape), **self.identity})

    @property
    def config(self) -> Mapping[str, Any]:
        """See `Stage.config`."""
        return {"network": asdict(self.shape), **self.identity}

    def work(self, fitting: StageTrainer) -> Mapping[str, Any]:
        """Train and test the network."""
        return retrain(lambda: new_network(self.shape, self.job), self.recipe, self.job, fitting)


def new_network(shape: Shape, job: StageContext) -> ReferenceNetwork:
    """Return the network, untrained."""
    return ReferenceNetwork(shape.kind, shape.channels, shape.layers, job.data.classes)


def trained_network(stage: StageResult, shape: Shape, job: StageContext) -> ReferenceNetwork:
    """Return the network that a finished stage trained, on the CPU and in evaluation mode."""
    network = new_network(shape, job)
    load_into(network, stage.folder.path / NETWORK)
    return network.eval()


def swappable(supernet: Supernet) -> dict[str, list[tuple[int, int]]]:
    """Return, of every cell type, the pairs of edges with the same candidates and the same stride in all its cells."""
    halved = {cell.space.name for cell in _cells(supernet) if cell.stride > 1}
    return {name: _pairs(space, name in halved) for name, space in supernet.cell_spaces.items()}


def _pairs(space: CellSpace, halved: bool) -> list[tuple[int, int]]:
    edges = space.topology.edges
    strided = [halved and source < space.topology.inputs for source, _ in edges]
    return [
        (first, second)
        for first in range(len(edges))
        for second in range(first + 1, len(edges))
        if space.operations[first] == space.operations[second] and strided[first] == strided[second]
    ]


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
    outgoing = [cell.outgoing_edges(cell.space.topology.edges[edge][0]) for edge in (first, second)]
    for name in set(cell.space.operations[first]) - {"none"}:
        if isinstance(outgoing[0][name], SharedOperation):
            continue
        positions = [of.positions(name, [edge])[0] for of, edge in zip(outgoing, (first, second), strict=True)]
        stacks = [of[name].state_dict().values() for of in outgoing]
        for tensors in zip(*stacks, strict=True):
            rows = [
                tensor.view(len(of.stacks[name]), -1)[position]
                for tensor, of, position in zip(tensors, outgoing, positions, strict=True)
            ]
            kept = rows[0].clone()
            rows[0].copy_(rows[1])
            rows[1].copy_(kept)


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


REFERENCES: tuple[ReferenceKind, ...] = ("vgg", "resnet")
SUPERNET = "supernet"


@dataclass(frozen=True)
class Shuffle:
    """Exchange two layers in each stage of a VGG and a ResNet, two edges in every cell of the supernet, and test.

    An edge takes its operations, their weights and statistics and its mixture weights along; what it reads and what it
    feeds stay. Mixture weights are those of a cell type, so all cells of a type exchange the same two edges. The
    reference networks are trained on the run's images.

    Attributes:
        recipe: How the reference networks are trained.
        name: Shown in folders and reports.
        shuffles: How often it is drawn which two.
        channels: Of the first stage of the reference networks.
        layers: Of equal shape in each of their stages.
        batch_norm: Of the supernet: `running`: the statistics of its training; `batch`: those of each test batch.
    """

    recipe: Retraining
    name: str = "shuffle"
    shuffles: int = 10
    channels: int = 16
    layers: int = 4
    batch_norm: Literal["running", "batch"] = "running"
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        for option in ("shuffles", "channels", "layers"):
            POSITIVE_INT.check(f"analysis.{option}", getattr(self, option))
        one_of(("running", "batch")).check("analysis.batch_norm", self.batch_norm)
        if self.layers < 2:
            raise ValueError("analysis.layers must be 2 or more: two layers of a stage change places.")

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        for name, pairs in swappable(runs[0].supernet()).items():
            if not pairs:
                raise ValueError(
                    f"analysis=shuffle exchanges two edges of every cell, but no two edges of the {name} cell of "
                    f"{runs[0].parts.space.name!r} have the same candidates and the same stride. Name a run in another "
                    "space, such as s2."
                )

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: the trained reference networks."""
        _ = subject.run.parts.data.test  # a damaged image must not be met after the training
        return {kind: subject.do(self._reference(subject, kind)) for kind in REFERENCES}

    def _reference(self, subject: AnalysisContext, kind: ReferenceKind) -> ReferenceStage:
        run = subject.run
        of_run = identity_of(run.config, run.parts.data.fingerprint())["evaluation"]
        recipe = {name: value for name, value in subject.options["recipe"].items() if name not in ("name", "capture")}
        identity = {name: of_run[name] for name in ("seed", "precision", "data")} | {"recipe": recipe}
        label = f"{kind}-{run.parts.data.label}-seed{run.parts.seed}"
        return ReferenceStage(subject.job, self._shape(kind), self.recipe, identity, label)

    def _shape(self, kind: ReferenceKind) -> Shape:
        return Shape(kind, self.channels, self.layers)

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return a row per network and draw."""
        bench.fitting.progress.start(total=(1 + self.shuffles) * (1 + len(prepared)), completed=0)
        rows: Table = []
        for kind in REFERENCES:
            network = trained_network(prepared[kind], self._shape(kind), bench.subject.job).to(bench.device)
            rows += self._rows(bench, kind, partial(self._test_reference, bench, network))
        return {"draws": rows + self._rows(bench, SUPERNET, partial(self._test_supernet, bench, bench.supernet()))}

    def _rows(self, bench: Measurer, network: str, test: Callable[[torch.Generator | None], float]) -> Table:
        seed, classes = bench.subject.run.parts.seed, bench.subject.run.parts.data.classes
        before = bench.once(f"{network} before", partial(test, None))
        rows = []
        for draw in range(1, self.shuffles + 1):
            generator = generator_for(seed, "analysis", "shuffle", draw)
            after = bench.once(f"{network} shuffle {draw}", partial(test, generator))
            rows.append({"network": network, "draw": draw, "before": before, "after": after, "chance": 1 / classes})
        return rows

    def _test_reference(self, bench: Measurer, network: ReferenceNetwork, generator: torch.Generator | None) -> float:
        with swapped_layers(network, generator):
            return accuracy(network, bench.test())

    def _test_supernet(self, bench: Measurer, supernet: Supernet, generator: torch.Generator | None) -> float:
        with swapped_edges(supernet, generator) as weights, restored_state(supernet):
            supernet.train(self.batch_norm == "batch")
            return accuracy(lambda images: supernet(images, weights), bench.test())

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        return draw_shuffle(tables["draws"])

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        words = []
        for network in dict.fromkeys(row["network"] for row in tables["draws"]):
            own = [row for row in tables["draws"] if row["network"] == network]
            after = [100 * row["after"] for row in own]
            spread = f" ± {stdev(after):.1f}" if len(after) > 1 else ""
            left = kept(own)
            rest = "barely better than chance to begin with" if left is None else f"{percent(left, 0)} of what is above"
            words.append(f"{network} {percent(own[0]['before'])} before, {fmean(after):.1f}{spread} % after ({rest})")
        return (
            f"Test accuracy: {'; '.join(words)} (chance is {percent(tables['draws'][0]['chance'])}). In the paper (VGG "
            "92.69 to 9.83, ResNet 93.86 to 83.20, supernet 88.44 to 81.09 %) only the VGG falls to chance."
        )


def kept(rows: Table) -> float | None:
    """Return the share of a network's accuracy above chance that is left after shuffling, mean over the draws.

    None for a network that is right less than twice as often as chance to begin with.
    """
    chance, before = rows[0]["chance"], rows[0]["before"]
    if before < 2 * chance:
        return None
    return float((fmean(row["after"] for row in rows) - chance) / (before - chance))


_BEFORE, _AFTER, _PALE = "#0072B2", "#D55E00", "#F4CDB2"
_NAMES = {"vgg": "VGG", "resnet": "ResNet"}
_CHANCE: dict[str, Any] = {"color": "0.4", "linewidth": 1.1, "linestyle": "--"}


@styled
def draw_shuffle(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw, per network, the accuracy before, after each draw, and its mean ± standard deviation.

    Args:
        rows: network, before, after, chance; accuracies in [0, 1].
    """
    networks = list(dict.fromkeys(row["network"] for row in rows))
    figure, body = new_figure("Test accuracy before and after layers (edges) change places", 3.2)
    handles: list[Artist] = [Patch(color=_BEFORE, label="before"), Patch(color=_PALE, label="after: mean ± std")]
    handles.append(Line2D([], [], linestyle="", marker="o", color=_AFTER, label="after: each draw"))
    handles.append(Line2D([], [], **_CHANCE, label="chance"))
    add_legend(body, handles)
    axes = body.subplots()
    axes.grid(axis="x", visible=False)
    for position, network in enumerate(networks):
        own = [row for row in rows if row["network"] == network]
        after = [100 * row["after"] for row in own]
        axes.bar(position - 0.2, 100 * own[0]["before"], 0.36, color=_BEFORE)
        axes.bar(position + 0.2, fmean(after), 0.36, color=_PALE)
        spots = [position + 0.16 + 0.2 * ((index + 0.5) / len(after) - 0.5) for index in range(len(after))]
        axes.plot(spots, after, "o", color=_AFTER, markersize=4)
        if len(after) > 1:
            axes.errorbar(position + 0.33, fmean(after), stdev(after), color="0.2", capsize=3, linewidth=1.2)
    axes.axhline(100 * rows[0]["chance"], **_CHANCE, zorder=3)
    axes.set_xticks(range(len(networks)), [_NAMES.get(name, name) for name in networks])
    axes.tick_params(axis="x", labelsize=8, length=0)
    axes.set_ylabel("test accuracy (%)")
    axes.set_ylim(0, None)
    return figure
