"""Reading an architecture off a trained supernet. Plain torch, no Lightning."""

from archselect.selection.decision import Decision, OperationDecision, TopologyDecision
from archselect.selection.magnitude import Magnitude, magnitude_decisions
from archselect.selection.perturbation import Perturbation
from archselect.selection.race import Race
from archselect.selection.random import Random
from archselect.selection.scorer import Racing, Score, Scorer, Scoring
from archselect.selection.selector import Selector, Tuning

__all__ = [
    "Decision",
    "Magnitude",
    "OperationDecision",
    "Perturbation",
    "Race",
    "Racing",
    "Random",
    "Score",
    "Scorer",
    "Scoring",
    "Selector",
    "TopologyDecision",
    "Tuning",
    "magnitude_decisions",
]
