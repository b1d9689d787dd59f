"""The chosen cells side by side (DARTS-PT, Fig. 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from archselect.analysis.base import AnalysisContext, Measurer, Table, Tables
from archselect.analysis.stats import edge_name, is_convolution
from archselect.figures.cells import draw_cells_of
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun
from archselect.pipeline.stage import StageResult

MOST = 12


@dataclass(frozen=True)
class Cells:
    """Architectures that were chosen, of one run or of several; of one, beside what magnitude would have chosen.

    Attributes:
        name: Shown in folders and reports.
    """

    name: str = "cells"
    several: ClassVar[bool] = True
    version: ClassVar[int] = 2

    def check(self, runs: Sequence[FinishedRun]) -> None:
        """See `Analysis.check`."""
        if len(runs) > MOST:
            raise ValueError(
                f"analysis=cells draws up to {MOST} architectures side by side, but the folder holds {len(runs)} runs. "
                "Name a folder with fewer, or a single run."
            )

    def prepare(self, subject: AnalysisContext) -> Mapping[str, StageResult]:
        """See `Analysis.prepare`: nothing."""
        return {}

    def measure(self, bench: Measurer, prepared: Mapping[str, StageResult]) -> Tables:
        """Return a row per edge of each architecture."""
        chosen = [(_label(run, bench.subject.runs), run.genotype) for run in bench.subject.runs]
        run = bench.subject.run
        if len(chosen) == 1 and run.summary["selection"] != "magnitude":
            magnitude = Genotype.from_text(run.stage("search").result["magnitude_genotype"])
            chosen.insert(0, ("magnitude", magnitude))
        rows: Table = [
            {"architecture": label, "cell": cell.name, "edge": edge_name((source, target)), "operation": operation}
            for label, genotype in chosen
            for cell in genotype
            for source, target, operation in cell.edges
        ]
        return {"edges": rows, "genotypes": [{"architecture": label, "genotype": str(one)} for label, one in chosen]}

    def draw(self, tables: Tables) -> Figure:
        """See `Analysis.draw`."""
        chosen = [(row["architecture"], Genotype.from_text(row["genotype"])) for row in tables["genotypes"]]
        return draw_cells_of(chosen, beside=2)

    def reading(self, tables: Tables) -> str:
        """See `Analysis.reading`."""
        words = []
        for row in tables["genotypes"]:
            names = [edge["operation"] for edge in tables["edges"] if edge["architecture"] == row["architecture"]]
            convolutions = sum(is_convolution(name) for name in names)
            skips = names.count("skip_connect")
            words.append(f"{row['architecture']}: {convolutions} convolutions and {skips} skip_connect")
        edges = len(tables["edges"]) // len(tables["genotypes"])
        return f"Of the {edges} edges of an architecture ({'; '.join(words)})."


def _label(run: FinishedRun, runs: Sequence[FinishedRun]) -> str:
    """Return what tells a run from the others: its selection, and of search, seed and data what they differ in."""
    summary = run.summary
    differing = [
        name for name in ("search", "data") if len({other.summary[name] for other in runs}) > 1 and summary[name]
    ]
    seeds = len({other.parts.seed for other in runs}) > 1
    parts = [*(str(summary[name]) for name in differing), str(summary["selection"] or "given")]
    return " + ".join(parts) + (f", seed {run.parts.seed}" if seeds else "")
