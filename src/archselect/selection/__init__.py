"""Reading an architecture off a trained supernet. Plain torch, no Lightning."""

from archselect.selection.base import Selector, SupernetEvaluator, TrialTraining
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision
from archselect.selection.discretization import Discretization
from archselect.selection.magnitude import Magnitude, magnitude_decisions
from archselect.selection.perturbation import Perturbation
from archselect.selection.random_choice import Random
from archselect.selection.sampling import Sampling
from archselect.selection.schedule import DecisionStep, Tuning
from archselect.selection.scorer import Scorer
from archselect.selection.scoring import Racing, Score, Scoring, SuccessiveElimination
from archselect.selection.shapley import Shapley
from archselect.selection.zero_cost import ZeroCost

__all__ = [
    "Decision",
    "DecisionStep",
    "Discretization",
    "Magnitude",
    "OperationDecision",
    "Perturbation",
    "Racing",
    "Random",
    "Sampling",
    "Score",
    "Scorer",
    "Scoring",
    "Selector",
    "Shapley",
    "Strength",
    "SuccessiveElimination",
    "SupernetEvaluator",
    "TopologyDecision",
    "TrialTraining",
    "Tuning",
    "ZeroCost",
    "magnitude_decisions",
]
