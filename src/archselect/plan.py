"""The stages that a composed config describes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig

from archselect.config import Parts, folder_label, identity_of, plain
from archselect.evaluation import NoEvaluation
from archselect.genotype import Genotype
from archselect.stages import EvaluationStage, SearchStage, SelectionStage
from archselect.stages.devices import parts_of_batch
from archselect.stages.job import Finished, Job


@dataclass(frozen=True)
class Plan:
    """The stages of one run; each takes what the one before it came to.

    Attributes:
        config: As composed, with all groups.
        parts: What `config` describes.
        job: What all stages share.
    """

    config: DictConfig
    parts: Parts
    job: Job

    def search(self) -> SearchStage:
        """Return the training of the supernet."""
        parts = self.parts
        return SearchStage(
            self.job,
            parts.search,
            self._identities["search"],
            self._config_of("search_space", "search", "data"),
            self._label(parts.search.name),
        )

    def selection(self, search: Finished, snapshot: int | None = None) -> SelectionStage:
        """Return the selection from the supernet that a search came to, or from one of its snapshots."""
        parts = self.parts
        return SelectionStage(
            self.job,
            search,
            parts.search,
            parts.selection,
            self._identities["selection"],
            self._config_of("search_space", "search", "selection", "data"),
            self._label(parts.search.name, parts.selection.name, *([f"epoch{snapshot}"] if snapshot else [])),
            snapshot,
        )

    def evaluation(self, genotype: Genotype) -> EvaluationStage | None:
        """Return the evaluation of an architecture; None where nothing is evaluated."""
        evaluation = self.parts.evaluation
        if isinstance(evaluation, NoEvaluation):
            return None
        return EvaluationStage(
            self.job,
            genotype,
            evaluation,
            self._identities["evaluation"],
            self._config_of("search_space", "evaluation", "data"),
            self._label(evaluation.name),
        )

    @cached_property
    def _identities(self) -> Any:
        return identity_of(self.config, self.parts.data.fingerprint(), parts_of_batch(self.parts.trainer))

    def _config_of(self, *groups: str) -> dict[str, Any]:
        return {"seed": self.parts.seed, **{group: plain(self.config[group]) for group in groups}}

    def _label(self, *names: str) -> str:
        parts = self.parts
        return folder_label(parts.space.name, *names, parts.data.label, f"seed{parts.seed}")
