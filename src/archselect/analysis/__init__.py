"""The paper's figures and tables, and some that it does not have, from finished runs.

Each analysis measures (once: what it measures is kept in the store), draws, and says in a paragraph what is to be seen.
"""

from archselect.analysis.cells import Cells as Cells
from archselect.analysis.command import look as look
from archselect.analysis.discretization_accuracy import DiscretizationAccuracy as DiscretizationAccuracy
from archselect.analysis.landscape import Landscape as Landscape
from archselect.analysis.operation_strength import OperationStrength as OperationStrength
from archselect.analysis.optimal_alpha import OptimalAlpha as OptimalAlpha
from archselect.analysis.seeds import Seeds as Seeds
from archselect.analysis.selection_curve import SelectionCurve as SelectionCurve
from archselect.analysis.shuffle import Shuffle as Shuffle
from archselect.analysis.skip_dominance import SkipDominance as SkipDominance
from archselect.analysis.trajectory import Trajectory as Trajectory
from archselect.analysis.true_strength import TrueStrength as TrueStrength
