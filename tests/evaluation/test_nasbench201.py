"""The NAS-Bench-201 table answers with the right row, ranks it, and names what is wrong with a file."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archselect.evaluation import NASBench201Lookup
from archselect.evaluation.nasbench201 import ACCURACIES, ARCH, COLUMNS, OPERATIONS, PACKAGED, NASBench201Table
from archselect.genotype import Genotype

SKIP = "skip_connect"
SKIPS, NONES, CONVOLUTIONS, POOLS = (
    ARCH.format(*6 * [operation]) for operation in (SKIP, "none", "nor_conv_3x3", "avg_pool_3x3")
)
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"


def small_table() -> pd.DataFrame:
    rows = [
        # index, arch, then cifar10, cifar100 and imagenet16_120: test, valid of each
        (7, SKIPS, 80.0, 79.0, 30.0, 29.0, 20.0, 19.0),
        (3, CONVOLUTIONS, 94.0, 91.0, 70.0, 69.0, 45.0, 44.0),
        (5, POOLS, 80.0, 78.0, 40.0, 39.0, 10.0, 9.0),
        (9, NONES, 10.0, 10.5, 1.0, 1.5, 0.5, 0.75),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def written(table: pd.DataFrame, folder: Path) -> Path:
    path = folder / "table.csv"
    table.to_csv(path, index=False)
    return path


def test_looks_up_every_number_of_an_architecture(tmp_path: Path) -> None:
    small_table().to_parquet(tmp_path / "table.parquet")
    for path in (written(small_table(), tmp_path), tmp_path / "table.parquet"):
        result = asdict(NASBench201Table(path).look_up(Genotype.from_nasbench201(CONVOLUTIONS)))
        assert list(result) == [*COLUMNS, "rank", "cifar100_rank", "imagenet16_120_rank", "of"]
        assert list(result.values()) == [3, CONVOLUTIONS, 94.0, 91.0, 70.0, 69.0, 45.0, 44.0, 1, 1, 1, 4]


@pytest.mark.parametrize(
    ("arch", "ranks"), [(SKIPS, (2, 3, 2)), (POOLS, (2, 2, 3)), (NONES, (4, 4, 4))], ids=["tie", "tie too", "last"]
)
def test_ranks_by_test_accuracy_and_ties_share_the_best_rank(
    arch: str, ranks: tuple[int, int, int], tmp_path: Path
) -> None:
    result = NASBench201Table(written(small_table(), tmp_path)).look_up(Genotype.from_nasbench201(arch))
    assert (result.rank, result.cifar100_rank, result.imagenet16_120_rank) == ranks


# What is refused


@pytest.mark.parametrize("table", ["", " ", 3, ["a.csv"]], ids=str)
def test_what_is_no_path_is_refused(table: object) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.table must be the path of .*, or null for .* the package; got"):
        NASBench201Lookup("nasbench201", table, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("nowhere.csv", None, FileNotFoundError, r"nowhere\.csv.*evaluation\.table"),
        ("NATS-tss.pickle", b"", ValueError, r"\.csv or a \.parquet.*NATS-tss\.pickle"),
        ("table.csv", b"", ValueError, r"table\.csv is no readable"),
        ("table.parquet", b"", ValueError, r"table\.parquet is no readable"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    name: str, content: bytes | None, error: type[Exception], message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        NASBench201Table(tmp_path / name)


def in_percent(column: str, row: int, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({column: object})
        table.loc[row, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns=["arch", "cifar10_valid"]), r"lacks the column\(s\) arch, cifar10_valid\. "),
        (lambda table: table.head(0), "no rows"),
        (lambda table: pd.concat([table, table.iloc[[3]]]), r"no other row, and 1 .* is row 4, with '\|none~0\|"),
        (in_percent("index", 1, None), r"index must be .*, and 1 row\(s\) are otherwise: the first is row 1, with"),
        (in_percent("arch", 1, None), r"arch must be .*, and 1 row\(s\) are otherwise: the first is row 1, with"),
        *(
            (in_percent(column, 2, value), rf"{column} must be an accuracy in percent, and 1 .*row 2, .*avg_pool_3x3~0")
            for column, value in zip(ACCURACIES, [float("nan"), "n/a?", 101.0, -1.0, None, float("inf")], strict=True)
        ),
        *(
            (lambda table, one=column: table.assign(**{one: table[one] / 100}), rf"but the best in .*{column} is 0")
            for column in ACCURACIES
        ),
        (
            lambda table: table.assign(**{column: table[column] / 100 for column in ACCURACIES}),
            r"in percent, but the best in cifar10_test, .*, imagenet16_120_valid is 0\.94, .*fractions.*Multiply them",
        ),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        NASBench201Table(written(change(small_table()), tmp_path))


def test_cells_that_know_no_more_than_chance_are_not_taken_for_fractions(tmp_path: Path) -> None:
    """All of CIFAR-100 at 1 % and ImageNet16-120 at 0.75 %, as of every cell that lets nothing through."""
    table = NASBench201Table(written(small_table().iloc[[3]], tmp_path))
    assert table.look_up(Genotype.from_nasbench201(NONES)).imagenet16_120_test == 0.5


def test_a_cell_that_is_not_in_the_table_or_of_another_space_is_refused(tmp_path: Path) -> None:
    table = NASBench201Table(written(small_table(), tmp_path))
    with pytest.raises(ValueError, match=r"has 4 architectures, and \|nor_conv_3x3~0\|.*is not among them"):
        table.look_up(Genotype.from_nasbench201(BEST))
    with pytest.raises(ValueError, match="search_space=nasbench201"):
        table.look_up(Genotype.parse("DARTS_V2"))


# The table of the package


@pytest.fixture(scope="module")
def packaged() -> NASBench201Table:
    return NASBench201Lookup("nasbench201", None, {}).load()


def test_the_packages_table_has_every_cell_of_the_benchmark(packaged: NASBench201Table) -> None:
    assert packaged.accuracies("cifar10_test", 6 * [OPERATIONS]).shape == 6 * (5,)
    assert len(packaged) == 15_625
    assert 10**5 < PACKAGED.stat().st_size < 10**6
    assert "Copyright (c) since 2020 Xuanyi Dong" in PACKAGED.with_suffix(".txt").read_text()
    other = Genotype.from_nasbench201(BEST.replace("nor_conv_1x1", "sep_conv_3x3"))
    with pytest.raises(ValueError, match=r"table of the package has 15,625 .*sep_conv_3x3.* For other operations"):
        packaged.look_up(other)


@pytest.mark.parametrize(
    ("column", "index", "accuracy"),
    [
        # The benchmark's own best ones (Dong and Yang, Table 5), and where all there is are skip connections.
        ("cifar10_test", 6111, 94.37),
        ("cifar100_test", 9930, 73.51),
        ("imagenet16_120_test", 857, 47.31),
        ("cifar10_valid", None, 91.61),
        ("cifar100_valid", None, 73.49),
    ],
)
def test_the_best_cells_are_those_that_the_benchmarks_authors_name(
    column: str, index: int | None, accuracy: float, packaged: NASBench201Table
) -> None:
    accuracies = packaged.accuracies(column, 6 * [OPERATIONS])
    assert accuracies.max() == pytest.approx(accuracy, abs=0.005)
    best = [[OPERATIONS[number] for number in cell] for cell in np.argwhere(accuracies == accuracies.max())]
    found = {packaged.look_up(Genotype.from_nasbench201(ARCH.format(*cell))).index for cell in best}
    assert index is None or index in found  # two isomorphic cells are best on CIFAR-10


@pytest.mark.parametrize(
    ("operations", "accuracies", "rank"),
    [
        # What RESULTS.md says of the cells that were chosen there, looked up in a table of another making.
        (6 * [SKIP], (54.30, 15.61, 16.32), 15_231),
        ([SKIP, "nor_conv_3x3", SKIP, "nor_conv_1x1", "nor_conv_1x1", SKIP], (92.02, 67.59, 39.94), 4_769),
        ([SKIP, "nor_conv_3x3", "none", "nor_conv_1x1", "none", "none"], (88.86, 61.81, 31.83), 10_487),
        ([SKIP, "nor_conv_3x3", SKIP, "nor_conv_1x1", SKIP, SKIP], (88.35, 60.55, 33.89), 11_316),
    ],
)
def test_a_cell_has_the_accuracies_and_the_rank_that_it_had(
    operations: list[str], accuracies: tuple[float, ...], rank: int, packaged: NASBench201Table
) -> None:
    found = packaged.look_up(Genotype.from_nasbench201(ARCH.format(*operations)))
    assert found.rank == rank
    tested = (found.cifar10_test, found.cifar100_test, found.imagenet16_120_test)
    assert tested == pytest.approx(accuracies, abs=0.00501)
