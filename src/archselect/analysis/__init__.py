"""The paper's figures and tables, and some that it does not have, from finished runs.

Each analysis measures (once: what it measures is kept in the store), draws, and says in a paragraph what is to be seen.
"""

from archselect.analysis.cells import Cells
from archselect.analysis.command import look
from archselect.analysis.discretization_accuracy import DiscretizationAccuracy
from archselect.analysis.landscape import Landscape
from archselect.analysis.operation_strength import OperationStrength
from archselect.analysis.optimal_alpha import OptimalAlpha
from archselect.analysis.seeds import Seeds
from archselect.analysis.selection_curve import SelectionCurve
from archselect.analysis.shuffle import Shuffle
from archselect.analysis.skip_dominance import SkipDominance
from archselect.analysis.trajectory import Trajectory
from archselect.analysis.true_strength import TrueStrength

__all__ = [
    "Cells",
    "DiscretizationAccuracy",
    "Landscape",
    "OperationStrength",
    "OptimalAlpha",
    "Seeds",
    "SelectionCurve",
    "Shuffle",
    "SkipDominance",
    "Trajectory",
    "TrueStrength",
    "look",
]
