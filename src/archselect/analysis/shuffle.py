"""Test accuracy before and after layers or edges change places (DARTS-PT, Table 1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import ClassVar, Literal

import torch
from matplotlib.figure import Figure

from archselect.analysis.analysis import Table, Tables
from archselect.analysis.bench import Bench, accuracy
from archselect.analysis.exchange import exchangeable, exchanged_edges, exchanged_layers
from archselect.analysis.subject import Subject
from archselect.analysis.words import percent
from archselect.checks import check_choice, check_positive
from archselect.config import identity_of
from archselect.evaluation import Retraining
from archselect.figures.shuffle import draw_shuffle
from archselect.networks.preserved import preserved
from archselect.networks.reference import Kind, ReferenceNetwork
from archselect.networks.supernet import Supernet
from archselect.randomness import generator_for
from archselect.runs import FinishedRun
from archselect.stages.job import Finished
from archselect.stages.reference import ReferenceStage, Shape, trained_network

REFERENCES: tuple[Kind, ...] = ("vgg", "resnet")
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
            check_positive(f"analysis.{option}", getattr(self, option))
        check_choice("analysis.batch_norm", self.batch_norm, ("running", "batch"))
        if self.layers < 2:
            raise ValueError("analysis.layers must be 2 or more: two layers of a stage change places.")

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        for name, pairs in exchangeable(runs[0].supernet()).items():
            if not pairs:
                raise ValueError(
                    f"analysis=shuffle exchanges two edges of every cell, but no two edges of the {name} cell of "
                    f"{runs[0].parts.space.name!r} have the same candidates and the same stride. Name a run in another "
                    "space, such as s2."
                )

    def prepare(self, subject: Subject) -> Mapping[str, Finished]:
        """See `Analysis.prepare`: the trained reference networks."""
        _ = subject.run.parts.data.test  # a damaged image must not be met after the training
        return {kind: subject.do(self._reference(subject, kind)) for kind in REFERENCES}

    def _reference(self, subject: Subject, kind: Kind) -> ReferenceStage:
        run = subject.run
        of_run = identity_of(run.config, run.parts.data.fingerprint())["evaluation"]
        recipe = {name: value for name, value in subject.options["recipe"].items() if name not in ("name", "capture")}
        identity = {name: of_run[name] for name in ("seed", "precision", "data")} | {"recipe": recipe}
        label = f"{kind}-{run.parts.data.label}-seed{run.parts.seed}"
        return ReferenceStage(subject.job, self._shape(kind), self.recipe, identity, label)

    def _shape(self, kind: Kind) -> Shape:
        return Shape(kind, self.channels, self.layers)

    def measure(self, bench: Bench, prepared: Mapping[str, Finished]) -> Tables:
        """Return a row per network and draw."""
        bench.fitting.progress.start(total=(1 + self.shuffles) * (1 + len(prepared)), completed=0)
        rows: Table = []
        for kind in REFERENCES:
            network = trained_network(prepared[kind], self._shape(kind), bench.subject.job).to(bench.device)
            rows += self._rows(bench, kind, partial(self._test_reference, bench, network))
        return {"draws": rows + self._rows(bench, SUPERNET, partial(self._test_supernet, bench, bench.supernet()))}

    def _rows(self, bench: Bench, network: str, test: Callable[[torch.Generator | None], float]) -> Table:
        seed, classes = bench.subject.run.parts.seed, bench.subject.run.parts.data.classes
        before = bench.once(f"{network} before", partial(test, None))
        rows = []
        for draw in range(1, self.shuffles + 1):
            generator = generator_for(seed, "analysis", "shuffle", draw)
            after = bench.once(f"{network} shuffle {draw}", partial(test, generator))
            rows.append({"network": network, "draw": draw, "before": before, "after": after, "chance": 1 / classes})
        return rows

    def _test_reference(self, bench: Bench, network: ReferenceNetwork, generator: torch.Generator | None) -> float:
        with exchanged_layers(network, generator):
            return accuracy(network, bench.test())

    def _test_supernet(self, bench: Bench, supernet: Supernet, generator: torch.Generator | None) -> float:
        with exchanged_edges(supernet, generator) as weights, preserved(supernet):
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
