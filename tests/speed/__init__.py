"""How fast the supernets are, and what they need.

python -m tests.speed            a supernet against the plain one of tests/reference: step, forward, memory
python -m tests.speed.scaling    step time and memory against channels, depth, batch size and decisions made
python -m tests.speed.profile    what kinds of work a step is made of, beside the limits of the machine
python -m tests.speed.overhead   what making the batches and Lightning's loop add to a step
python -m tests.speed.methods    a step of every search method beside one of first-order DARTS
python -m tests.speed.racing     how often a race ends with the decision of full scoring, and after how many passes
python -m tests.speed.decisions  whether other ways to evaluate a supernet lead to the same decisions
python -m tests.speed.retraining images per second of a discrete network, beside one without our kernels

conditions    device, precision, batch size, threads
setting       a supernet and its size
sides         the two that are compared: what a bilevel step and a forward are on either
stopwatch, memory, limits       what is measured
kinds, work, loops              the kind of an operator, and what it needs at least
finished_search                 a trained supernet to score
table, scaling_figure           what is shown

Nothing else may run on the machine meanwhile.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "reference"))  # the plain supernets; its modules import one another
