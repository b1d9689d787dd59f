"""Confidence intervals of means over edges and runs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Estimate(NamedTuple):
    """A mean, with the limits of its interval where there are at least two values."""

    mean: float | None
    low: float | None
    high: float | None
    n: int


def crossed_bootstrap(values: NDArray[np.float64], resamples: int, seed: int, confidence: float = 0.95) -> Estimate:
    """Return the mean of a table of values with a percentile interval.

    Rows and columns are drawn with replacement independently of each other, and what lies where they cross is averaged
    (the pigeonhole bootstrap of Owen, Ann. Appl. Stat. 2007): all values of a row share the run, all of a column the
    edge, so they are no independent draws. With one row only the columns are drawn. Where both vary the interval is
    somewhat too wide rather than too narrow; of few columns a percentile interval is somewhat too narrow.

    Args:
        values: `(runs, edges)`, NaN where there is none.
        resamples: How many tables are drawn.
        seed: What they are drawn from.
        confidence: Of the interval.
    """
    known = ~np.isnan(values)
    n = int(known.sum())
    if n == 0:
        return Estimate(None, None, None, 0)
    mean = float(values[known].mean())
    if n == 1:
        return Estimate(mean, None, None, 1)
    generator = np.random.default_rng(seed)
    rows, columns = (generator.multinomial(size, [1 / size] * size, resamples) for size in values.shape)
    sums = np.einsum("br,re,be->b", rows, np.where(known, values, 0.0), columns)
    weights = np.einsum("br,re,be->b", rows, known.astype(np.float64), columns)
    means = sums[weights > 0] / weights[weights > 0]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, float(low), float(high), n)
