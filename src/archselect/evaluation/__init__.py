"""Judging an architecture: retraining from scratch, or a table of known results."""

from archselect.evaluation.module import RetrainModule
from archselect.evaluation.nasbench201 import NASBench201Lookup, NASBench201Table
from archselect.evaluation.retraining import Evaluation, NoEvaluation, Retraining

__all__ = ["Evaluation", "NASBench201Lookup", "NASBench201Table", "NoEvaluation", "RetrainModule", "Retraining"]
