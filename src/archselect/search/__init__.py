"""Training a supernet by bilevel optimisation."""

from archselect.search.architecture_gradient import ArchitectureGradient, FirstOrder
from archselect.search.method import SearchMethod
from archselect.search.module import SearchModule

__all__ = ["ArchitectureGradient", "FirstOrder", "SearchMethod", "SearchModule"]
