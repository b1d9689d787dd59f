"""Training a supernet by bilevel optimisation."""

from archselect.models.supernet.relaxation import Dirichlet, GumbelSoftmax, Relaxation, Sigmoid, Softmax
from archselect.search.alpha_gradient import ArchitectureGradient, FirstOrder, Unrolled
from archselect.search.cost import CostTerm
from archselect.search.early_stopping import Curvature, SkipLimit, StoppingRule, cap_skips
from archselect.search.method import SearchMethod
from archselect.search.module import SearchModule
from archselect.search.oles import GradientMatching
from archselect.search.regularizers import L2, DirichletKL, Entropy, Regularizer, ZeroOne
from archselect.search.sgas import SGAS
from archselect.search.smoothing import AdversarialSmoothing, RandomSmoothing, Smoothing

__all__ = [
    "L2",
    "SGAS",
    "AdversarialSmoothing",
    "ArchitectureGradient",
    "CostTerm",
    "Curvature",
    "Dirichlet",
    "DirichletKL",
    "Entropy",
    "FirstOrder",
    "GradientMatching",
    "GumbelSoftmax",
    "RandomSmoothing",
    "Regularizer",
    "Relaxation",
    "SearchMethod",
    "SearchModule",
    "Sigmoid",
    "SkipLimit",
    "Smoothing",
    "Softmax",
    "StoppingRule",
    "Unrolled",
    "ZeroOne",
    "cap_skips",
]
