"""Judging an architecture: retraining from scratch, or a table of known results."""

from archselect.evaluation.module import RetrainModule
from archselect.evaluation.nasbench201 import NASBench201Table
from archselect.evaluation.retraining import NASBench201Lookup, NoEvaluation, Retraining

__all__ = ["NASBench201Lookup", "NASBench201Table", "NoEvaluation", "RetrainModule", "Retraining"]
