"""The stages that a composed config describes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig

from archselect.config import Parts, folder_label, identity_of, plain
from archselect.evaluation import NoEvaluation
from archselect.genotype import Genotype
from archselect.stages import EvaluationStage, SearchStage, SelectionStage
from archselect.stages.job import Finished, Job
from archselect.stages.trainer import parts_of_batch
from archselect.store.key import Kind

GROUPS: dict[Kind, tuple[str, ...]] = {
    "search": ("search_space", "search", "data"),
    "selection": ("search_space", "search", "selection", "data"),
    "evaluation": ("search_space", "evaluation", "data"),
}
"""The groups of the config that a stage is made of."""


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
        label, config = self.described("search")
        return SearchStage(self.job, self.parts.search, self._identities["search"], config, label)

    def selection(self, search: Finished, snapshot: int | None = None) -> SelectionStage:
        """Return the selection from the supernet that a search came to, or from one of its snapshots."""
        parts = self.parts
        label, config = self.described("selection", *([f"epoch{snapshot}"] if snapshot else []))
        identity = self._identities["selection"]
        return SelectionStage(self.job, search, parts.search, parts.selection, identity, config, label, snapshot)

    def evaluation(self, genotype: Genotype) -> EvaluationStage | None:
        """Return the evaluation of an architecture; None where nothing is evaluated."""
        evaluation = self.parts.evaluation
        if isinstance(evaluation, NoEvaluation):
            return None
        label, config = self.described("evaluation")
        return EvaluationStage(self.job, genotype, evaluation, self._identities["evaluation"], config, label)

    def described(self, kind: Kind, *more: str) -> tuple[str, dict[str, Any]]:
        """Return the readable name of a stage, which ends with the seed, and the part of the config that it is of."""
        parts, groups = self.parts, GROUPS[kind]
        methods = [getattr(parts, group).name for group in groups if group not in ("search_space", "data")]
        label = folder_label(parts.space.name, *methods, *more, parts.data.label, f"seed{parts.seed}")
        return label, {"seed": parts.seed, **{group: plain(self.config[group]) for group in groups}}

    @cached_property
    def _identities(self) -> Any:
        return identity_of(self.config, self.parts.data.fingerprint(), parts_of_batch(self.parts.trainer))
