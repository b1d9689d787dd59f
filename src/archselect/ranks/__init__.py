"""One run in several processes, one per device, that hold the same supernet and share every batch.

group       which of the processes this is, and what they tell each other
loss        means over a batch that is spread over them, and their gradients
draws       random numbers that are the same in all of them, or another in each
agreement   whether they still hold the same numbers

In a run of one process, which most are, all of this does nothing and costs nothing.
"""

from archselect.ranks.agreement import RanksDifferError, average_statistics, check_alike
from archselect.ranks.draws import seed, shared_draws
from archselect.ranks.group import (
    WHOLE,
    Share,
    added,
    apart,
    barrier,
    count,
    first,
    from_first,
    join,
    leave,
    meeting,
    normalises_together,
    rank,
    several,
    share,
    summed,
    total,
)
from archselect.ranks.loss import cross_entropy, gradients, mean

__all__ = [
    "WHOLE",
    "RanksDifferError",
    "Share",
    "added",
    "apart",
    "average_statistics",
    "barrier",
    "check_alike",
    "count",
    "cross_entropy",
    "first",
    "from_first",
    "gradients",
    "join",
    "leave",
    "mean",
    "meeting",
    "normalises_together",
    "rank",
    "seed",
    "several",
    "share",
    "shared_draws",
    "summed",
    "total",
]
