"""The supernet's validation accuracy while selections discretise it (DARTS-PT, Fig. 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from archselect.analysis.analysis import Tables
from archselect.analysis.bench import Bench
from archselect.analysis.subject import Subject
from archselect.analysis.words import percent
from archselect.figures.selection_curve import draw_selection_curve
from archselect.runs import FinishedRun
from archselect.stages.fitting import HISTORY
from archselect.stages.job import Finished
from archselect.stages.selection import DECISIONS


@dataclass(frozen=True)
class SelectionCurve:
    """Select from the run's supernet in several ways and follow its validation accuracy from decision to decision.

    Attributes:
        name: Shown in folders and reports.
    """

    name: str = "selection_curve"
    several: ClassVar[bool] = False
    version: ClassVar[int] = 2

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""

    def prepare(self, subject: Subject) -> Mapping[str, Finished]:
        """See `Analysis.prepare`: the selections."""
        names = [name for name in subject.selections if subject.reads_trained_alpha(name)]
        for name in names:
            if subject.plan(name).parts.selection.tuning is None:
                raise ValueError(
                    f"analysis=selection_curve follows the supernet from decision to decision, but selection={name} "
                    "decides everything at once. Leave it out of selections."
                )
        return {name: subject.select(name) for name in names}

    def measure(self, bench: Bench, prepared: Mapping[str, Finished]) -> Tables:
        """Return a row per selection and epoch; epoch 0 is the supernet before the first decision."""
        start = bench.subject.run.stage("search").result["val_accuracy"]
        rows = []
        for name, stage in prepared.items():
            edges: list[int] = []
            nodes: list[int] = []
            for decision in stage.folder.read_lines(DECISIONS):
                (edges if decision["kind"] == "operation" else nodes).append(decision["epoch"])
            rows.append({"selection": name, "epoch": 0, "val_accuracy": start, "edges_decided": 0, "nodes_decided": 0})
            for record in stage.folder.read_lines(HISTORY):
                rows.append(
                    {
                        "selection": name,
                        "epoch": record["epoch"] + 1,
                        "val_accuracy": record["metrics"]["val_accuracy"],
                        "edges_decided": sum(epoch <= record["epoch"] for epoch in edges),
                        "nodes_decided": sum(epoch <= record["epoch"] for epoch in nodes),
                    }
                )
        return {"epochs": rows}

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        return draw_selection_curve(tables["epochs"])

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        rows = tables["epochs"]
        names = list(dict.fromkeys(row["selection"] for row in rows))
        own = {name: [row["val_accuracy"] for row in rows if row["selection"] == name] for name in names}
        ends = sorted(names, key=lambda name: own[name][-1], reverse=True)
        words = ", ".join(
            f"{percent(own[name][-1])} with {name} (mean over its epochs {percent(sum(own[name]) / len(own[name]))})"
            for name in ends
        )
        return (
            f"The supernet begins at {percent(own[names[0]][0])} validation accuracy. When everything is decided and "
            f"tuned it is at {words}. The paper sees perturbation above PT-Mag all along. The accuracy is that on the "
            "images which train alpha, at the end of each epoch of tuning."
        )
