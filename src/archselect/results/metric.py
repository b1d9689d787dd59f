"""What the results of a task are told in: the name of its metric, which way is better, how its values are written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import floor, log10
from typing import Any, Literal, get_args

Mode = Literal["max", "min"]
SHARES = ("accuracy", "precision", "recall", "f1")
"""How the names of metrics end that are shares of a whole: these are shown in percent."""
MAXIMUM_NAME = 200


@dataclass(frozen=True)
class Metric:
    """The metric of a task.

    Stages keep shares as fractions, and they are shown in percent; everything else is shown as it is kept, in its own
    unit.

    Attributes:
        name: As it ends the keys of results: `val_NAME`, `test_NAME`.
        mode: `max`: larger is better; `min`: smaller, as of errors.
    """

    name: str = "accuracy"
    mode: Mode = "max"

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> "Metric":
        """Return the metric of a run by its summary; one that does not say is of classification, by accuracy.

        Raises:
            ValueError: `metric` is no name, or `metric_mode` neither `max` nor `min`.
        """
        if (mode := summary.get("metric_mode", "max")) not in get_args(Mode):
            raise ValueError(f"metric_mode is max or min, not {mode!r}")
        return cls(checked_name("metric", summary.get("metric", "accuracy")), mode)

    @property
    def is_share(self) -> bool:
        return self.name.endswith(SHARES)

    @property
    def words(self) -> str:
        """The name as in a sentence."""
        return self.name.replace("_", " ")

    @property
    def title(self) -> str:
        """The name as at the beginning of a sentence."""
        return self.words[:1].upper() + self.words[1:]

    @property
    def factor(self) -> float:
        """What values are multiplied by before they are shown."""
        return 100.0 if self.is_share else 1.0

    @property
    def label(self) -> str:
        """The name as on an axis, with its unit."""
        return f"{self.words} (%)" if self.is_share else self.words

    @property
    def column(self) -> str:
        """The name as over a column, with its unit."""
        return f"{self.words}{self.percent}"

    @property
    def percent(self) -> str:
        """What follows a shown number."""
        return " %" if self.is_share else ""

    @property
    def better(self) -> str:
        return "higher" if self.mode == "max" else "lower"

    @property
    def worse(self) -> str:
        return "lower" if self.mode == "max" else "higher"

    @property
    def sign(self) -> int:
        """What values are multiplied by so that larger is better."""
        return 1 if self.mode == "max" else -1

    @property
    def harm(self) -> str:
        """What happens to the metric as a network gets worse."""
        return "lost" if self.mode == "max" else "gained"

    def key(self, part: str) -> str:
        """Return the key of a result: `val_accuracy` of `val`."""
        return f"{part}_{self.name}"

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of some values; `None` of none."""
        return max(values, key=lambda value: self.sign * value, default=None)

    def number(self, shown: float | None, digits: int = 2) -> str:
        """Return a number to be shown, already multiplied by `factor`, without its unit.

        A share has so many digits after the point, anything else four that count.
        """
        if shown is None:
            return "–"
        return f"{shown:.{digits}f}" if self.is_share else _significant(shown, shown)

    def spread(self, mean: float, deviation: float) -> str:
        """Return a mean and a standard deviation to be shown, without the unit."""
        if self.is_share:
            return f"{mean:.2f} ± {deviation:.2f}"
        return f"{_significant(mean, mean)} ± {_significant(deviation, mean)}"

    def amount(self, value: float, digits: int = 2) -> str:
        """Return a value, as stages keep it, with its unit: `97.20 %`, `0.1234`."""
        return f"{self.number(self.factor * value, digits)}{self.percent}"

    def difference(self, value: float, digits: int = 2) -> str:
        """Return the difference of two values with its unit: `1.25 points`, `0.1234`."""
        return f"{self.number(self.factor * value, digits)}{' points' if self.is_share else ''}"


def _significant(value: float, scale: float) -> str:
    """Return a number with the digits after the point that `scale` needs to show four that count."""
    if not 1e-4 <= abs(scale) < 1e6:  # none of these: NaN
        return f"{value:.4g}"
    return f"{value:.{max(0, 3 - floor(log10(abs(scale))))}f}"


ACCURACY = Metric()
CLASSIFICATION = "classification"


def checked_name(key: str, name: Any) -> str:
    """Return a name of a summary.

    Raises:
        ValueError: It is no name: a terminal would obey some characters.
    """
    if not isinstance(name, str) or not name or not name.isprintable() or len(name) > MAXIMUM_NAME:
        raise ValueError(f"{key} is no name of at most {MAXIMUM_NAME:,} printable characters")
    return name
