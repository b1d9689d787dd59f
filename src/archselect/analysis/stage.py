"""The stage of an analysis: what it measures is computed once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archselect.analysis.analysis import Analysis, Tables
from archselect.analysis.bench import Bench
from archselect.analysis.subject import Subject
from archselect.config import folder_label
from archselect.stages.fitting import Fitting
from archselect.stages.job import Finished
from archselect.store import StageKey

TABLES = "tables.json"


@dataclass(frozen=True)
class AnalysisStage:
    """Measures.

    Attributes:
        subject: The runs.
        analysis: What is measured.
        prepared: Further stages that are read.
        options: The resolved config of the analysis.
    """

    subject: Subject
    analysis: Analysis
    prepared: Mapping[str, Finished]
    options: Mapping[str, Any]

    @property
    def key(self) -> StageKey:
        """See `Stage.key`: the options, and all that is read: stages, and a table that the run did not look into.

        Selections that were refused leave no stage, but tables say so: they are part of it too.
        """
        run = self.subject.run
        read = [
            [stage["folder"].rpartition("-")[2] for stage in run.summary["stages"].values()]
            for run in self.subject.runs
        ]
        identity: dict[str, Any] = {
            "version": self.analysis.version,
            "analysis": {name: value for name, value in self.options.items() if name != "name"},
            "runs": read,
            "prepared": {name: stage.folder.key.digest for name, stage in self.prepared.items()},
        }
        table = self.subject.other_table
        if table is not None:
            identity["table"] = table
        if refusals := self.subject.refusals:
            identity["refused"] = refusals
        label = folder_label(self.analysis.name, run.summary["name"], f"seed{run.parts.seed}")
        return StageKey("analysis", label, identity)

    @property
    def config(self) -> Mapping[str, Any]:
        """See `Stage.config`."""
        return {"runs": [str(run.folder) for run in self.subject.runs], "analysis": dict(self.options)}

    def work(self, fitting: Fitting) -> Mapping[str, Any]:
        """Measure, and keep the tables."""
        tables: Tables = self.analysis.measure(Bench(self.subject, fitting), self.prepared)
        fitting.folder.write_json(TABLES, dict(tables))
        return {"rows": {name: len(rows) for name, rows in tables.items()}}
