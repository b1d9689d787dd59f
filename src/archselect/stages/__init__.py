"""The stages of a run: search, selection, evaluation. Each fills one folder of the store."""

from archselect.stages.evaluation import EvaluationStage
from archselect.stages.search import SearchStage
from archselect.stages.selection import SelectionStage

__all__ = ["EvaluationStage", "SearchStage", "SelectionStage"]
