"""NAS-Bench-201 as a table: the test accuracy of a cell without training it (Dong and Yang, arXiv 2001.00326).

The table of the package, `nasbench201.parquet`, has all 15,625 cells after 200 epochs; `nasbench201.txt` says where it
comes from. Another one is a CSV or parquet file with one row per architecture and accuracies in percent:
`index, arch, cifar10_test, cifar10_valid, cifar100_test, cifar100_valid, imagenet16_120_test, imagenet16_120_valid`;
other columns are ignored. `arch` is the benchmark's own text, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archselect.data import ImageData
from archselect.evaluation.retraining import Evaluation
from archselect.genotype import Genotype
from archselect.genotype.formats import shown
from archselect.models.discrete.network import DiscreteNetwork
from archselect.safe_io.files import LINE_BYTES, TABLE_BYTES, TABLE_ROWS, checked, read_parquet
from archselect.search_spaces import SearchSpace
from archselect.store.integrity import sha256_of
from archselect.store.redact_paths import expand
from archselect.tasks import Classification, Task
from archselect.utils.validation import check_options

PACKAGED = Path(__file__).with_suffix(".parquet")
"""The table that comes with the package."""

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The candidates on each of the six edges of the benchmark's cells."""

DATA_SETS = ("cifar10", "cifar100", "imagenet16_120")
ACCURACIES = tuple(f"{data}_{part}" for data in DATA_SETS for part in ("test", "valid"))
ARCH = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
NOTATION = re.compile(r"\|(?:\w+~\d+\|)+(?:\+\|(?:\w+~\d+\|)+)*", re.ASCII)
COLUMNS = ("index", "arch", *ACCURACIES)
CIFAR10_SIZE = 32
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
    """The results of the benchmark's architectures, read once, in about 50 ms for the table of the package.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such `.csv` or `.parquet` file: a column lacks, it has no rows, a value is no percentage, a
            cell twice.

    Example:
        >>> table = archselect.NASBench201Table()
        >>> cell = archselect.Genotype.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
        ...                                  "|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|")
        >>> found = table.look_up(cell)
        >>> found.cifar10_test, found.rank
        (94.3633, 3)
    """

    def __init__(self, path: str | Path = PACKAGED) -> None:
        self.path = Path(path)
        table = _read(self.path)
        _check(table, self.path)
        table = table[list(COLUMNS)].astype({"index": int} | dict.fromkeys(ACCURACIES, float))
        ranks = table[list(RANKS.values())].rank(method="min", ascending=False).astype(int)
        columns = {name: table[name] for name in COLUMNS} | {name: ranks[column] for name, column in RANKS.items()}
        self._columns: dict[str, list[Any]] = {name: column.tolist() for name, column in columns.items()}
        self._rows: dict[str, int] = {arch: row for row, arch in enumerate(self._columns["arch"])}

    def __len__(self) -> int:
        return len(self._rows)

    def look_up(self, genotype: Genotype) -> Result:
        """Return the row of `genotype`; a ValueError if it is no NAS-Bench-201 cell, or not in the table."""
        try:
            arch = genotype.to_nasbench201()
        except ValueError as error:
            raise ValueError(
                f"Only cells of the NAS-Bench-201 space can be looked up in its table, and this is none: {error} "
                "Search with search_space=nasbench201, or retrain the architecture with another evaluation."
            ) from error
        row = self._row(arch)
        return Result(**{name: column[row] for name, column in self._columns.items()}, of=len(self))

    def accuracies(self, column: str, operations: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Return a column of all cells with one of `operations[i]` on edge i, in percent: an axis per edge.

        A ValueError says which of them the table lacks.
        """
        values = self._columns[column]
        found = [values[self._row(ARCH.format(*choice))] for choice in itertools.product(*operations)]
        return np.array(found, dtype=np.float64).reshape([len(candidates) for candidates in operations])

    def _row(self, arch: str) -> int:
        if arch in self._rows:
            return self._rows[arch]
        which = "of the package" if self.path == PACKAGED else str(self.path)
        raise ValueError(
            f"The NAS-Bench-201 table {which} has {len(self):,} architectures, and {arch} is not among them. All "
            f"15,625 cells with {', '.join(OPERATIONS)} are in the table of the package (evaluation.table=null). For "
            "other operations, take evaluation=retrain_nasbench201, or a table that has them: evaluation.table=FILE."
        )


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no NAS-Bench-201 table at {path}. Set evaluation.table to the file you have, or to null for the "
            "table of the package."
        )
    if path.suffix not in (".csv", ".parquet"):
        raise ValueError(f"The NAS-Bench-201 table must be a .csv or a .parquet file; evaluation.table is {path}.")
    try:
        checked(path, path.resolve().parent, TABLE_BYTES)
        if path.suffix == ".parquet":
            return read_parquet(path, TABLE_BYTES, TABLE_ROWS).to_pandas(ignore_metadata=True)
        return _read_csv(path)
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


def _check(table: pd.DataFrame, path: Path) -> None:
    if missing := [column for column in COLUMNS if column not in table.columns]:
        names = [str(name)[:40] for name in table.columns]
        has = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise ValueError(
            f"The NAS-Bench-201 table {path} lacks the column(s) {', '.join(missing)}. "
            f"It needs {', '.join(COLUMNS)}; it has {has}."
        )
    if table.empty:
        raise ValueError(f"The NAS-Bench-201 table {path} has columns but no rows.")
    archs, numbers = table["arch"], pd.to_numeric(table["index"], errors="coerce")
    cells = [isinstance(arch, str) and NOTATION.fullmatch(arch) is not None for arch in archs.tolist()]
    _check_rows(table, path, "arch", f"a cell such as {ARCH.format(*6 * ['none'])}", np.array(cells))
    _check_rows(table, path, "arch", "that of no other row", ~archs.duplicated().to_numpy())
    whole = numbers.between(0, 10**9) & (numbers % 1 == 0)
    _check_rows(table, path, "index", "a whole number, 0 or more", whole.to_numpy())
    for column in ACCURACIES:
        percent = pd.to_numeric(table[column], errors="coerce").between(0, 100)
        _check_rows(table, path, column, "an accuracy in percent", percent.to_numpy())
    _check_unit(table, path)


def _check_rows(table: pd.DataFrame, path: Path, column: str, expected: str, right: NDArray[np.bool_]) -> None:
    """Raise a ValueError where a column of some row is not what it should be; `right` has an entry per row."""
    if right.all():
        return
    row = int(right.argmin())
    value, arch = (shown(table[name].iloc[row]) for name in (column, "arch"))
    of = "" if column == "arch" else f" of {arch}"
    raise ValueError(
        f"In the NAS-Bench-201 table {path}, {column} must be {expected}, and {np.count_nonzero(~right)} row(s) are "
        f"otherwise: the first is row {row}, with {value}{of}. Mend or remove them."
    )


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


@dataclass(frozen=True)
class NASBench201Lookup(Evaluation):
    """Look the architecture up in a table of all NAS-Bench-201 results.

    Attributes:
        table: Path of the table; null: the one of the package.
        network: The skeleton that the table's networks have, for their parameter count.
    """

    name: str
    table: str | None
    network: Mapping[str, Any]

    epochs = 0
    capture = "none"

    def __post_init__(self) -> None:
        check_options("evaluation.network", self.network, Mapping)
        if self.table is not None and (not isinstance(self.table, str) or not self.table.strip()):
            raise ValueError(
                "evaluation.table must be the path of a .csv or .parquet file, or null for the table of the package; "
                f"got {self.table!r}."
            )

    @property
    def file(self) -> Path:
        """The file of the table."""
        return PACKAGED if self.table is None else Path(expand(self.table))

    @property
    def identity(self) -> dict[str, Any]:
        return {"table": sha256_of(self.file)}

    def load(self) -> NASBench201Table:
        """Return the table."""
        return NASBench201Table(self.file)

    def describe(self) -> str:
        return "look-up in the NAS-Bench-201 table"

    def check(self, space: SearchSpace, genotype: Genotype | None, data: ImageData, task: Task) -> None:
        if not isinstance(task, Classification):
            raise ValueError(
                f"evaluation=nasbench201 looks up accuracies of classification, but the task is {task.name}. Retrain "
                "the architecture, such as by evaluation=retrain_nasbench201, or choose evaluation=none."
            )
        if set(space.cells) != {"cell"}:
            raise ValueError(
                f"evaluation=nasbench201 looks up NAS-Bench-201 cells, but the search space is {space.name!r}. Choose "
                "search_space=nasbench201, or leave evaluation=... out for the one that suits the space."
            )
        if genotype is None:
            self.load().accuracies(ACCURACIES[0], space.cells["cell"].operations)  # it has all of them
        else:
            self.load().look_up(genotype)

    def judged_sizes(self, space: SearchSpace) -> Mapping[str, Any]:
        return self.network

    def judged_network(self, space: SearchSpace, genotype: Genotype, data: ImageData, outputs: int) -> DiscreteNetwork:
        """Return the benchmark's network for CIFAR-10."""
        return self._network(space, genotype)

    def judged_image_size(self, data: ImageData) -> int:
        return CIFAR10_SIZE

    def look_up(self, space: SearchSpace, genotype: Genotype) -> dict[str, Any]:
        """Return the parameters of the benchmark's network of a genotype, and what the table says of it."""
        network = self._network(space, genotype)
        return {"params": network.parameter_count(), **asdict(self.load().look_up(genotype))}

    def _network(self, space: SearchSpace, genotype: Genotype) -> DiscreteNetwork:
        of_benchmark = {"stem": "conv3x3", "head": "linear", **self.network}
        return space.network(genotype, CIFAR10_SIZE, classes=10, **of_benchmark)
