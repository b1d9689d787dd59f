"""Numbers as the readings of analyses say them."""

from collections.abc import Iterable


def percent(share: float, digits: int = 1) -> str:
    """Return a share of 1 in percent."""
    return f"{100 * share:.{digits}f} %"


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is there; None of nothing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def table_column(column: str) -> str:
    """Return what a column of the NAS-Bench-201 table is: "CIFAR-10 test accuracy"."""
    data, _, part = column.rpartition("_")
    names = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16_120": "ImageNet16-120"}
    return f"{names[data]} {'validation' if part == 'valid' else part} accuracy"
