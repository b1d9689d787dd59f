"""The chosen cells side by side (DARTS-PT, Fig. 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from archselect.analysis.base import Analysis, Measurer, Prepared, Table, Tables
from archselect.analysis.stats import SKIP, convolutions, rows_by
from archselect.figures.cells import draw_cells_of
from archselect.figures.style import edge_name
from archselect.genotype import Genotype
from archselect.pipeline.finished_run import FinishedRun

MOST = 12


@dataclass(frozen=True)
class Cells(Analysis):
    """Architectures that were chosen, of one run or of several; of one, beside what magnitude would have chosen."""

    name: str
    multi_run: ClassVar[bool] = True

    def check(self, runs: Sequence[FinishedRun]) -> None:
        if len(runs) > MOST:
            raise ValueError(
                f"analysis=cells draws up to {MOST} architectures side by side, but the folder holds {len(runs)} runs. "
                "Name a folder with fewer, or a single run."
            )

    def measure(self, measurer: Measurer, prepared: Prepared) -> Tables:
        """Return a row per edge of each architecture."""
        runs = measurer.context.runs
        chosen = [(_label(run, runs), run.genotype) for run in runs]
        if len(runs) == 1 and runs[0].summary["selection"] != "magnitude":
            magnitude = Genotype.from_text(runs[0].stage("search").result["magnitude_genotype"])
            chosen.insert(0, ("magnitude", magnitude))
        rows: Table = [
            {"architecture": label, "cell": cell.name, "edge": edge_name((source, target)), "operation": operation}
            for label, genotype in chosen
            for cell in genotype
            for source, target, operation in cell.edges
        ]
        own = frozenset[str]().union(*(convolutions(run.parts.space.primitives) for run in runs)) - convolutions()
        tables = {"edges": rows, "genotypes": [{"architecture": label, "genotype": str(one)} for label, one in chosen]}
        return {**tables, **({"own_convolutions": [{"operation": name} for name in sorted(own)]} if own else {})}

    def draw(self, tables: Tables) -> Figure:
        chosen = [(row["architecture"], Genotype.from_text(row["genotype"])) for row in tables["genotypes"]]
        return draw_cells_of(chosen, beside=2)

    def summary(self, tables: Tables) -> str:
        words, learning = [], {*convolutions(), *(row["operation"] for row in tables.get("own_convolutions", []))}
        for architecture, rows in rows_by(tables["edges"], "architecture"):
            names = [row["operation"] for row in rows]
            learnt = sum(name in learning for name in names)
            words.append(f"{architecture}: {learnt} convolutions and {names.count(SKIP)} skip_connect")
        edges = len(tables["edges"]) // len(tables["genotypes"])
        return f"Of the {edges} edges of an architecture ({'; '.join(words)})."


def _label(run: FinishedRun, runs: Sequence[FinishedRun]) -> str:
    """Return what tells a run from the others: its selection, and of search, seed and data what they differ in."""
    varying = [name for name in ("search", "data") if len({other.summary[name] for other in runs}) > 1]
    names = [str(run.summary[name]) for name in varying if run.summary[name]]
    seed = f", seed {run.parts.seed}" if len({other.parts.seed for other in runs}) > 1 else ""
    return " + ".join([*names, str(run.summary["selection"] or "given")]) + seed
