"""Training a supernet by bilevel optimisation."""

from archselect.networks.relaxation import Dirichlet, GumbelSoftmax, Sigmoid, Softmax
from archselect.search.architecture_gradient import ArchitectureGradient, BilevelStep, FirstOrder, Unrolled
from archselect.search.freezing import GradientMatching
from archselect.search.greedy import SGAS
from archselect.search.method import SearchMethod
from archselect.search.module import SearchModule
from archselect.search.regularization import L2, DirichletKL, Entropy, ZeroOne
from archselect.search.skip_cap import cap_skips
from archselect.search.smoothing import AdversarialSmoothing, RandomSmoothing
from archselect.search.stopping import Curvature, SkipLimit

__all__ = [
    "L2",
    "SGAS",
    "AdversarialSmoothing",
    "ArchitectureGradient",
    "BilevelStep",
    "Curvature",
    "Dirichlet",
    "DirichletKL",
    "Entropy",
    "FirstOrder",
    "GradientMatching",
    "GumbelSoftmax",
    "RandomSmoothing",
    "SearchMethod",
    "SearchModule",
    "Sigmoid",
    "SkipLimit",
    "Softmax",
    "Unrolled",
    "ZeroOne",
    "cap_skips",
]
