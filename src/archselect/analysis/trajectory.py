"""What selections choose along the search, and how good it is (DARTS-PT, Fig. 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.figure import Figure

from archselect.analysis.analysis import Table, Tables
from archselect.analysis.bench import Bench
from archselect.analysis.subject import Subject
from archselect.analysis.words import percent, table_column
from archselect.checks import check_flag, check_positive
from archselect.evaluation import Retraining
from archselect.evaluation.nasbench201 import RANKS
from archselect.figures.selection_trajectory import Panel, draw_selection_trajectory
from archselect.genotype import Genotype
from archselect.preflight import check_data
from archselect.reporting.results import skip_share
from archselect.runs import FinishedRun
from archselect.stages.job import Finished

TESTS = tuple(RANKS.values())
"""The columns of the NAS-Bench-201 table with test accuracies."""


@dataclass(frozen=True)
class Trajectory:
    """Select from the supernet as it was after so many epochs, in several ways.

    Attributes:
        name: Shown in folders and reports.
        epochs: After how many epochs; null: wherever the search kept the supernet.
        judge: Whether every architecture is retrained as the run's own was.
    """

    name: str = "trajectory"
    epochs: Sequence[int] | None = None
    judge: bool = False
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        check_flag("analysis.judge", self.judge)
        if self.epochs is not None:
            if isinstance(self.epochs, str) or not isinstance(self.epochs, Sequence) or not self.epochs:
                raise ValueError(
                    "analysis.epochs must be a list such as [10, 30, 50], or null for all snapshots; got "
                    f"{self.epochs!r}."
                )
            for epoch in self.epochs:
                check_positive("analysis.epochs", epoch)

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        run = runs[0]
        kept = run.snapshots
        if not kept:
            raise ValueError(
                f"analysis={self.name} selects from snapshots of the supernet, and the search of the run {run.folder} "
                "kept none. Search with search.snapshots=N to keep one after every N epochs."
            )
        lacking = [str(epoch) for epoch in self.epochs or () if epoch not in kept]
        if lacking:
            raise ValueError(
                f"analysis.epochs names {', '.join(lacking)}, but the search kept the supernet after "
                f"{', '.join(map(str, kept))} epochs. Choose among these, or null for all."
            )
        if self.judge and not isinstance(run.parts.evaluation, Retraining):
            raise ValueError(
                f"analysis.judge=true retrains what is chosen as the run's own architecture was, but the run "
                f"{run.folder} has evaluation={run.parts.evaluation.name}. Leave it out, or name a run that retrained."
            )
        if self.judge:
            check_data(run.parts)

    def prepare(self, subject: Subject) -> Mapping[str, Finished]:
        """See `Analysis.prepare`: a selection per way and snapshot, with `judge` their evaluations."""
        table = subject.table
        if table is not None:
            table.look_up(subject.run.parts.space.example())  # refused now, not after the selections
        made = {
            f"{epoch} {name}": stage
            for epoch in self._epochs(subject)
            for name, stage in subject.select_all(epoch).items()
        }
        if not made:
            raise ValueError(f"analysis={self.name} has no selection to follow. {' '.join(subject.refused.values())}")
        if not self.judge:
            return made
        judged = {}
        for text in dict.fromkeys(stage.result["genotype"] for stage in made.values()):
            evaluation = subject.judge(Genotype.from_text(text))
            assert evaluation is not None, "check saw that the run retrains"
            judged[text] = evaluation
        return {**made, **judged}

    def measure(self, bench: Bench, prepared: Mapping[str, Finished]) -> Tables:
        """Return a row per snapshot and selection, and which selections were left out."""
        subject = bench.subject
        table = subject.table
        accuracy = {record["epoch"] + 1: record["metrics"]["val_accuracy"] for record in subject.run.history("search")}
        rows: Table = []
        for epoch in self._epochs(subject):
            for name in subject.selections:
                if (made := prepared.get(f"{epoch} {name}")) is None:
                    continue
                text = made.result["genotype"]
                genotype = Genotype.from_text(text)
                row = {"epoch": epoch, "selection": name, "val_accuracy": accuracy[epoch]}
                row["skip_share"] = skip_share(genotype)
                if table is not None:
                    row |= {column: getattr(table.look_up(genotype), column) for column in TESTS}
                if self.judge:
                    row["test_accuracy"] = prepared[text].result["test_accuracy"]
                rows.append({**row, "genotype": text})
        selections = [{"selection": name, "left_out": subject.refused.get(name, "")} for name in subject.selections]
        return {"choices": rows, "selections": selections}

    def _epochs(self, subject: Subject) -> Sequence[int]:
        return subject.run.snapshots if self.epochs is None else sorted(set(self.epochs))

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        rows = tables["choices"]
        panels = [Panel(column, table_column(column), "accuracy (%)") for column in TESTS if column in rows[0]]
        if "test_accuracy" in rows[0]:
            panels.append(Panel("test_accuracy", "test accuracy, retrained", "accuracy (%)", 100))
        panels += [
            Panel("skip_share", "share of skip connections", "edges of the architecture (%)", 100),
            Panel("val_accuracy", "the supernet", "validation accuracy (%)", 100, common=True),
        ]
        return draw_selection_trajectory(rows, panels)

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        rows = tables["choices"]
        first, last = rows[0], rows[-1]
        words = [
            f"From epoch {first['epoch']} to {last['epoch']} the supernet's validation accuracy goes from "
            f"{percent(first['val_accuracy'])} to {percent(last['val_accuracy'])}."
        ]
        for name in dict.fromkeys(row["selection"] for row in rows):
            own = [row for row in rows if row["selection"] == name]
            parts = [f"share of skips from {percent(own[0]['skip_share'], 0)} to {percent(own[-1]['skip_share'], 0)}"]
            for column in ("cifar10_test", "test_accuracy"):
                if column in own[0]:
                    parts.insert(0, _course(own, column))
            words.append(f"{name}: {', '.join(parts)}.")
        words.append(
            "The paper sees the choices of magnitude degenerate along the search and those of perturbation not."
        )
        words += [
            f"{row['selection']} is left out: {row['left_out']}" for row in tables["selections"] if row["left_out"]
        ]
        return " ".join(words)


def _course(rows: Table, column: str) -> str:
    """Return where an accuracy begins and ends, and its mean."""
    factor = 100 if column == "test_accuracy" else 1
    values: list[Any] = [factor * row[column] for row in rows]
    what = "test accuracy" if column == "test_accuracy" else table_column(column)
    mean = sum(values) / len(values)
    return f"{what} from {values[0]:.1f} % to {values[-1]:.1f} % (mean {mean:.1f} %)"
