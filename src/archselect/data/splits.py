"""Stratified splits and subsets: every class keeps its share. Images with numbers as targets are drawn alike.

Not scikit-learn's, which refuses a class of a single image and follows numpy's generator: docs/explanation/search.md.
"""

import math

import torch
from torch import Generator, Tensor


def stratified_split(labels: Tensor, share: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Split the images at random into two parts, the first of which gets `share` of every class.

    The first part has `round(share * N)` images. Where `share` of a class is not a whole number, the class gets that
    number rounded down or up, up where the remainder is largest. Targets that are no classes, `(N, D)`, have no such
    shares: any `round(share * N)` images are drawn.

    Returns:
        The indices of the two parts of `labels` `(N,)` or `(N, D)`, each in ascending order; together 0 to N - 1.

    Raises:
        ValueError: `share` is not between 0 and 1, or one part would be empty.
    """
    if not 0 < share < 1:
        raise ValueError(f"Expected the share of the first part to lie between 0 and 1, got {share}.")
    size = round(share * len(labels))
    if not 0 < size < len(labels):
        raise ValueError(
            f"Splitting {len(labels)} images into shares of {share:g} and {1 - share:g} leaves one part empty. "
            "Use more images or another share."
        )
    chosen = _sample(labels, size, generator, at_least=0)
    in_first = torch.zeros(len(labels), dtype=torch.bool)
    in_first[chosen] = True
    return in_first.nonzero().flatten(), (~in_first).nonzero().flatten()


def stratified_subset(labels: Tensor, size: int, generator: Generator) -> Tensor:
    """Return the indices, ascending, of `size` random images among which every class keeps its share, and at least one.

    Raises:
        ValueError: `size` is larger than the set, or smaller than its number of classes.
    """
    if size > len(labels):
        raise ValueError(f"A subset of {size} images cannot be drawn from {len(labels)}. Ask for fewer.")
    if labels.dim() == 1 and size < (present := len(labels.unique())):
        raise ValueError(f"A subset of {size} images cannot hold all {present} classes. Ask for at least {present}.")
    return _sample(labels, size, generator, at_least=1).sort().values


def _sample(labels: Tensor, size: int, generator: Generator, at_least: int) -> Tensor:
    """Return the indices of `size` random images: of classes, each by its share and so many at least."""
    if labels.dim() > 1:
        return torch.randperm(len(labels), generator=generator)[:size]
    return _sample_per_class(labels, _apportion(torch.bincount(labels).tolist(), size, at_least), generator)


def _apportion(counts: list[int], size: int, at_least: int) -> list[int]:
    """Share `size` out over classes of `counts` images in proportion: largest remainders, ties to the first class."""
    shares = [size * count / sum(counts) for count in counts]
    seats = [min(count, max(at_least, math.floor(share))) for count, share in zip(counts, shares, strict=True)]
    while sum(seats) != size:  # too few after rounding down, or too many where rare classes were lifted to `at_least`
        step = 1 if sum(seats) < size else -1
        movable = [i for i, seat in enumerate(seats) if min(at_least, counts[i]) <= seat + step <= counts[i]]
        seats[max(movable, key=lambda i: step * (shares[i] - seats[i]))] += step
    return seats


def _sample_per_class(labels: Tensor, sizes: list[int], generator: Generator) -> Tensor:
    """Return the indices of `sizes[c]` random images of each class `c`."""
    chosen = []
    for label, size in enumerate(sizes):
        members = (labels == label).nonzero().flatten()
        chosen.append(members[torch.randperm(len(members), generator=generator)[:size]])
    return torch.cat(chosen)
