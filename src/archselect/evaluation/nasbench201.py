"""NAS-Bench-201 as a table: the test accuracy of a cell without training it (Dong and Yang, arXiv 2001.00326).

The table is a CSV or parquet file with one row per architecture and accuracies in percent:
`index, arch, cifar10_test, cifar10_valid, cifar100_test, cifar100_valid, imagenet16_120_test, imagenet16_120_valid`;
other columns are ignored. `arch` is the benchmark's own text, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archselect.genotype import Genotype
from archselect.genotype.cell import shown
from archselect.safe_io.data_files import read_parquet
from archselect.safe_io.files import LINE_BYTES, TABLE_BYTES, TABLE_ROWS, checked

ACCURACIES = (
    "cifar10_test",
    "cifar10_valid",
    "cifar100_test",
    "cifar100_valid",
    "imagenet16_120_test",
    "imagenet16_120_valid",
)
ARCH = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
NOTATION = re.compile(r"\|(?:\w+~\d+\|)+(?:\+\|(?:\w+~\d+\|)+)*", re.ASCII)
COLUMNS = ("index", "arch", *ACCURACIES)
CHANCE_ON_CIFAR10 = 10.0  # percent, of ten classes
LARGEST_FRACTION = 1.01  # a column whose best is not above this holds no percentages, but for what rounding adds to 1
RANKS = {"rank": "cifar10_test", "cifar100_rank": "cifar100_test", "imagenet16_120_rank": "imagenet16_120_test"}


@dataclass(frozen=True)
class Result:
    """What the table says about one architecture: accuracies in percent, and its place among all by test accuracy.

    Ranks start at 1 (the best); architectures with the same accuracy share the best rank of theirs.
    """

    index: int
    arch: str
    cifar10_test: float
    cifar10_valid: float
    cifar100_test: float
    cifar100_valid: float
    imagenet16_120_test: float
    imagenet16_120_valid: float
    rank: int  # by `cifar10_test`; the next two by the other test columns
    cifar100_rank: int
    imagenet16_120_rank: int
    of: int  # how many architectures the table has


class NASBench201Table:
    """The results of the benchmark's architectures, read once from `path` (`.csv` or `.parquet`).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: No path was given, or the file is not such a table: a missing column, no rows, a value that is not a
            percentage, an architecture that occurs twice.
    """

    def __init__(self, path: str | Path | None) -> None:
        if path is None or not str(path):
            raise ValueError(
                "The NAS-Bench-201 table is a file of your own and no path to it was given. "
                "Set evaluation.table=/path/to/nasbench201.csv (or .parquet)."
            )
        self.path = Path(path)
        table = _read(self.path)
        _check(table, self.path)
        self._results = {result.arch: result for result in _results(table)}

    def __len__(self) -> int:
        return len(self._results)

    def look_up(self, genotype: Genotype) -> Result:
        """Return the row of `genotype`.

        Raises:
            ValueError: `genotype` is not a NAS-Bench-201 cell, or the table does not have it.
        """
        try:
            arch = genotype.to_nasbench201()
        except ValueError as error:
            raise ValueError(
                f"Only cells of the NAS-Bench-201 space can be looked up in its table, and this is none: {error} "
                "Search with search_space=nasbench201, or retrain the architecture with another evaluation."
            ) from error
        if arch not in self._results:
            raise ValueError(
                f"The table {self.path} has {len(self)} architectures, and {arch} is not among them. "
                "Set evaluation.table to a table of all 15,625 architectures."
            )
        return self._results[arch]

    def accuracies(self, column: str, operations: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Return a column of all cells with one of `operations[i]` on edge i, in percent: an axis per edge.

        Raises:
            ValueError: The table lacks one of these cells.
        """
        self.check_covers(operations)
        values = [getattr(self._results[ARCH.format(*choice)], column) for choice in itertools.product(*operations)]
        return np.array(values, dtype=np.float64).reshape([len(candidates) for candidates in operations])

    def check_covers(self, operations: Sequence[Sequence[str]]) -> None:
        """Raise a ValueError unless the table has every cell with one of `operations[i]` on edge i."""
        for choice in itertools.product(*operations):
            if (arch := ARCH.format(*choice)) not in self._results:
                raise ValueError(
                    f"The table {self.path} has {len(self)} architectures, and {arch}, which the search space may "
                    "choose, "
                    "is not among them. Set evaluation.table to a table of all 15,625 architectures; other operations "
                    "than the benchmark's need another evaluation."
                )


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no NAS-Bench-201 table at {path}. Set evaluation.table to the file you have."
        )
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"The NAS-Bench-201 table must be a .csv or a .parquet file; evaluation.table is {path}.")
    try:
        checked(path, path.resolve().parent, TABLE_BYTES)
        return _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
    except (ValueError, OSError) as error:  # what pandas and pyarrow raise for a file that is none inherits from these
        raise ValueError(f"The NAS-Bench-201 table {path} is no readable {path.suffix[1:]} file: {error}") from error


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        if len(file.readline(LINE_BYTES)) == LINE_BYTES:  # pandas takes long for very many columns
            raise ValueError(f"its first line, the names of the columns, has more than {LINE_BYTES:,} bytes.")
    table = pd.read_csv(path, nrows=TABLE_ROWS + 1)
    if len(table) > TABLE_ROWS:
        raise ValueError(f"it has more than {TABLE_ROWS:,} rows; the benchmark has 15,625 architectures.")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    return read_parquet(path, lambda name: True, TABLE_BYTES, TABLE_ROWS).to_pandas(ignore_metadata=True)


def _check(table: pd.DataFrame, path: Path) -> None:
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise ValueError(
            f"The NAS-Bench-201 table {path} lacks the column(s) {', '.join(missing)}. "
            f"It needs {', '.join(COLUMNS)}; it has {_listed(list(table.columns))}."
        )
    if table.empty:
        raise ValueError(f"The NAS-Bench-201 table {path} has columns but no rows.")
    for column in ACCURACIES:
        wrong = table[~pd.to_numeric(table[column], errors="coerce").between(0, 100)]
        if len(wrong):
            raise ValueError(
                f"Column {column} of the NAS-Bench-201 table {path} must hold accuracies in percent, and {len(wrong)} "
                f"row(s) do not: the first is {shown(wrong[column].iloc[0])} for {shown(wrong['arch'].iloc[0])}. "
                "Mend or remove them."
            )
    numbers = pd.to_numeric(table["index"], errors="coerce")
    unnumbered = table[table["index"].notna() & ~(numbers.between(0, 10**9) & (numbers % 1 == 0))]
    if len(unnumbered):
        raise ValueError(
            f"The index of the NAS-Bench-201 table {path} is a whole number, and {len(unnumbered)} row(s) have none: "
            f"the first has {shown(unnumbered['index'].iloc[0])}. Mend or remove them."
        )
    nameless = table[table["index"].isna() | table["arch"].isna()]
    if len(nameless):
        raise ValueError(
            f"Every row of the NAS-Bench-201 table {path} needs an index and an arch; {len(nameless)} row(s) lack one: "
            f"the first is row {nameless.index[0]}. Mend or remove them."
        )
    strange = table[~table["arch"].map(lambda arch: isinstance(arch, str) and NOTATION.fullmatch(arch) is not None)]
    if len(strange):
        raise ValueError(
            f"The arch of the NAS-Bench-201 table {path} is a cell such as {ARCH.format(*6 * ['none'])}, and "
            f"{len(strange)} row(s) have none: the first has {shown(strange['arch'].iloc[0])}. Mend or remove them."
        )
    twice = table["arch"][table["arch"].duplicated()]
    if len(twice):
        raise ValueError(
            f"Each architecture must occur once in the NAS-Bench-201 table {path}, and {len(twice)} row(s) repeat one: "
            f"the first is {twice.iloc[0][:200]}. Remove the repeats."
        )
    _check_unit(table, path)


def _check_unit(table: pd.DataFrame, path: Path) -> None:
    """Refuse fractions. In percent, chance alone is right in 10 % on CIFAR-10, and in 1 % or less on the others."""
    best = {column: float(pd.to_numeric(table[column]).max()) for column in ACCURACIES}
    percent = 100 if best["cifar10_test"] <= LARGEST_FRACTION else 1
    has_learnt = percent * best["cifar10_test"] > 2 * CHANCE_ON_CIFAR10  # then some cell beats chance everywhere
    fractions = [name for name in ACCURACIES if best[name] <= LARGEST_FRACTION and (has_learnt or "cifar10_" in name)]
    if fractions:
        raise ValueError(
            f"The NAS-Bench-201 table {path} must hold accuracies in percent, but the best in {', '.join(fractions)} "
            f"is {', '.join(f'{best[name]:g}' for name in fractions)}: these look like fractions between 0 and 1. "
            "Multiply them by 100."
        )


def _listed(columns: Sequence[object]) -> str:
    names = [str(name)[:40] for name in columns[:20]]
    return ", ".join(names) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")


def _results(table: pd.DataFrame) -> Iterator[Result]:
    table = table[list(COLUMNS)].astype({"index": int} | dict.fromkeys(ACCURACIES, float))
    ranks = table[list(RANKS.values())].rank(method="min", ascending=False).astype(int)
    table = table.assign(**{name: ranks[column] for name, column in RANKS.items()})
    for row in table.to_dict("records"):
        yield Result(**{str(name): value for name, value in row.items()}, of=len(table))
