"""Reading an architecture off a trained supernet. Plain torch, no Lightning."""

from archselect.selection.base import DecisionStep, Evaluator, Selector, TrialTraining, Tuning
from archselect.selection.decisions import Decision, OperationDecision, Strength, TopologyDecision
from archselect.selection.discretization import Discretization
from archselect.selection.limit import Budget, Limit
from archselect.selection.magnitude import Magnitude, magnitude_decisions
from archselect.selection.perturbation import Perturbation, ProgressiveSelector
from archselect.selection.random_choice import Random
from archselect.selection.sampling import Sampling
from archselect.selection.scorer import Scorer
from archselect.selection.scoring import Racing, Score, Scoring, SuccessiveElimination
from archselect.selection.shapley import Shapley
from archselect.selection.zero_cost import ZeroCost

__all__ = [
    "Budget",
    "Decision",
    "DecisionStep",
    "Discretization",
    "Evaluator",
    "Limit",
    "Magnitude",
    "OperationDecision",
    "Perturbation",
    "ProgressiveSelector",
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
    "TopologyDecision",
    "TrialTraining",
    "Tuning",
    "ZeroCost",
    "magnitude_decisions",
]
