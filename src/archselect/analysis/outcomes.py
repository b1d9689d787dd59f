"""What several finished runs chose, named by what tells them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archselect.analysis.edges import edge_name
from archselect.genotype import Genotype
from archselect.reporting.results import RunResult
from archselect.runs import FinishedRun

DROPPED = "dropped"
"""What an edge has that does not feed its node."""

Edges = Mapping[tuple[str, str], str]
"""(cell, edge) to operation, or `DROPPED`."""


@dataclass(frozen=True)
class Outcome:
    """What one run chose.

    Attributes:
        label: The selection, and before it what else differs between the runs, such as the search.
        supernet: Digest of the search stage: runs with the same one selected from the same supernet.
        genotype: The architecture as text.
        edges: What every edge has.
        result: The run's result.
    """

    label: str
    supernet: str
    genotype: str
    edges: Edges
    result: RunResult

    @property
    def skips(self) -> int:
        """How many edges have `skip_connect`."""
        return list(self.edges.values()).count("skip_connect")

    @property
    def judged(self) -> str:
        """How the accuracy was measured: accuracies are comparable where this is the same."""
        return f"{self.result.choices.evaluation} on {self.result.choices.data}"


def outcomes(runs: Sequence[FinishedRun]) -> list[Outcome]:
    """Return what each run chose; a result that is there twice, because a command was typed again, counts once."""
    results = [RunResult.from_summary(run.summary, run.folder) for run in runs]
    varying = [name for name in ("search", "data", "evaluation") if len({_of(one, name) for one in results}) > 1]
    found: dict[tuple[str, str], Outcome] = {}
    for run, result in zip(runs, results, strict=True):
        label = ", ".join(_of(result, name) for name in (*varying, "selection"))
        supernet = run.stage("search").folder.key.digest
        outcome = Outcome(label, supernet, str(run.genotype), edges_of(run.genotype, run.space), result)
        found.setdefault((label, result.folder), outcome)
    return sorted(found.values(), key=lambda outcome: (outcome.label, outcome.result.seed))


def edges_of(genotype: Genotype, space: Mapping[str, Mapping[str, Mapping[str, Sequence[Sequence[int]]]]]) -> Edges:
    """Return what every edge of a space has in an architecture.

    Args:
        genotype: The architecture.
        space: As `SearchSpace.describe` returns it.
    """
    chosen = {(cell.name, source, target): operation for cell in genotype for source, target, operation in cell.edges}
    return {
        (name, edge_name(edge)): chosen.get((name, edge[0], edge[1]), DROPPED)
        for name, cell in space["cells"].items()
        for edge in cell["edges"]
    }


def _of(result: RunResult, name: str) -> str:
    return str(getattr(result.choices, name))
