"""A race of candidates: whoever cannot win any more is not scored any further.

The candidates of a round see the same batches, so their scores are compared batch by batch: after m batches, a
candidate is out when the mean of its m differences from the leader is so far behind that, by Student's t for paired
samples, the leader is the better one with the stated confidence (Hoeffding races, Maron & Moore, NIPS 1994, with the
t distribution in place of Hoeffding's bound, as in F-Race, Birattari et al., GECCO 2002).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from scipy.special import stdtrit
from torch import Tensor

Criterion = Literal["accuracy", "loss"]


@dataclass(frozen=True)
class Race:
    """What the candidates of a round compete for.

    Attributes:
        criterion: What is compared.
        wanted: `harmed`: the supernet with the lowest accuracy or highest loss wins; `unharmed`: the other way round.
        runners: How many of the candidates, from the first on, compete; the others are scored beside them.
    """

    criterion: Criterion
    wanted: Literal["harmed", "unharmed"]
    runners: int

    def lead(self, scores: Tensor) -> Tensor:
        """Return the scores `(..., 2)`, accuracy and loss, as numbers `(...)` that are larger for the better runner."""
        harm = -scores[..., 0] if self.criterion == "accuracy" else scores[..., 1]
        return harm if self.wanted == "harmed" else -harm


def beaten(leads: Tensor, confidence: float) -> list[bool]:
    """Return for each runner whether the leading one is better.

    Args:
        leads: `(batches, runners)`, at least two batches; larger is better.
        confidence: Of each single comparison, between 0.5 and 1.
    """
    batches = len(leads)
    leader = int(leads.mean(dim=0).argmax())
    behind = leads[:, leader : leader + 1] - leads
    standard_error = behind.std(dim=0) / batches**0.5
    critical = float(stdtrit(batches - 1, confidence))
    return torch.logical_and(behind.mean(dim=0) > 0, behind.mean(dim=0) > critical * standard_error).tolist()
