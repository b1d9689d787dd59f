"""Judging an architecture: retraining from scratch, or a table of known results."""

from archselect.evaluation.method import NASBench201Lookup, NoEvaluation, Retraining
from archselect.evaluation.module import RetrainModule
from archselect.evaluation.nasbench201 import NASBench201Table

__all__ = ["NASBench201Lookup", "NASBench201Table", "NoEvaluation", "RetrainModule", "Retraining"]
