"""The NAS-Bench-201 table answers with the right row, ranks it, and names what is wrong with a file."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archselect.evaluation import NASBench201Lookup
from archselect.evaluation.nasbench201 import ACCURACIES, ARCH, COLUMNS, OPERATIONS, PACKAGED, NASBench201Table
from archselect.genotype import Genotype

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
NONES = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
CONVOLUTIONS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
POOLS = "|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|"
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
    result = NASBench201Table(written(small_table(), tmp_path)).look_up(Genotype.from_nasbench201(CONVOLUTIONS))

    assert asdict(result) == {
        "index": 3,
        "arch": CONVOLUTIONS,
        "cifar10_test": 94.0,
        "cifar10_valid": 91.0,
        "cifar100_test": 70.0,
        "cifar100_valid": 69.0,
        "imagenet16_120_test": 45.0,
        "imagenet16_120_valid": 44.0,
        "rank": 1,
        "cifar100_rank": 1,
        "imagenet16_120_rank": 1,
        "of": 4,
    }


@pytest.mark.parametrize(
    ("arch", "ranks"), [(SKIPS, (2, 3, 2)), (POOLS, (2, 2, 3)), (NONES, (4, 4, 4))], ids=["tie", "tie too", "last"]
)
def test_ranks_by_test_accuracy_and_ties_share_the_best_rank(
    arch: str, ranks: tuple[int, int, int], tmp_path: Path
) -> None:
    result = NASBench201Table(written(small_table(), tmp_path)).look_up(Genotype.from_nasbench201(arch))

    assert (result.rank, result.cifar100_rank, result.imagenet16_120_rank) == ranks


def test_reads_parquet_like_csv(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    small_table().to_parquet(path)
    genotype = Genotype.from_nasbench201(POOLS)

    from_csv = NASBench201Table(written(small_table(), tmp_path)).look_up(genotype)
    assert NASBench201Table(path).look_up(genotype) == from_csv


@pytest.mark.parametrize("table", ["", " ", 3, ["a.csv"]], ids=str)
def test_what_is_no_path_is_refused(table: object) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.table must be the path of .*, or null for .* the package; got"):
        NASBench201Lookup("nasbench201", table, {})  # type: ignore[arg-type]


def test_names_the_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv.*evaluation\.table"):
        NASBench201Table(tmp_path / "nowhere.csv")


def test_refuses_a_file_that_is_neither_csv_nor_parquet(tmp_path: Path) -> None:
    path = tmp_path / "NATS-tss.pickle"
    path.touch()
    with pytest.raises(ValueError, match=r"\.csv or a \.parquet.*NATS-tss\.pickle"):
        NASBench201Table(path)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_refuses_a_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{name} is no readable"):
        NASBench201Table(tmp_path / name)


def test_names_the_columns_that_are_missing(tmp_path: Path) -> None:
    path = written(small_table().drop(columns=["arch", "cifar10_valid"]), tmp_path)
    with pytest.raises(ValueError, match=r"lacks the column\(s\) arch, cifar10_valid\. "):
        NASBench201Table(path)


def test_refuses_a_table_without_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows"):
        NASBench201Table(written(small_table().head(0), tmp_path))


@pytest.mark.parametrize("column", ACCURACIES)
@pytest.mark.parametrize("value", [float("nan"), "n/a?", 101.0, -1.0])
def test_refuses_what_is_no_accuracy_and_names_its_place(column: str, value: float | str, tmp_path: Path) -> None:
    table = small_table().astype({column: object})
    table.loc[2, column] = value
    with pytest.raises(
        ValueError, match=rf"{column} must be an accuracy in percent, and 1 row\(s\) .*row 2, .*avg_pool_3x3~0"
    ):
        NASBench201Table(written(table, tmp_path))


def test_a_table_in_fractions_is_refused(tmp_path: Path) -> None:
    table = small_table()
    table[list(ACCURACIES)] /= 100
    told = r"in percent, but the best in cifar10_test, .*, imagenet16_120_valid is 0\.94, .*fractions.*Multiply them"
    with pytest.raises(ValueError, match=told):
        NASBench201Table(written(table, tmp_path))


@pytest.mark.parametrize("column", ACCURACIES)
def test_a_single_column_in_fractions_is_refused(column: str, tmp_path: Path) -> None:
    table = small_table()
    table[column] /= 100
    with pytest.raises(ValueError, match=rf"but the best in (cifar10_test, )?{column} is 0"):
        NASBench201Table(written(table, tmp_path))


def test_cells_that_know_no_more_than_chance_are_not_taken_for_fractions(tmp_path: Path) -> None:
    """All of CIFAR-100 at 1 % and ImageNet16-120 at 0.75 %, as of every cell that lets nothing through."""
    table = small_table().iloc[[3]]
    assert (
        NASBench201Table(written(table, tmp_path)).look_up(Genotype.from_nasbench201(NONES)).imagenet16_120_test == 0.5
    )


@pytest.mark.parametrize("column", ["index", "arch"])
def test_refuses_a_row_without_a_name(column: str, tmp_path: Path) -> None:
    table = small_table().astype({column: object})
    table.loc[1, column] = None
    with pytest.raises(
        ValueError, match=rf"{column} must be .*, and 1 row\(s\) are otherwise: the first is row 1, with"
    ):
        NASBench201Table(written(table, tmp_path))


def test_refuses_an_architecture_that_occurs_twice(tmp_path: Path) -> None:
    table = pd.concat([small_table(), small_table().iloc[[3]]])
    with pytest.raises(
        ValueError, match=r"that of no other row, and 1 row\(s\) .*: the first is row 4, with '\|none~0\|"
    ):
        NASBench201Table(written(table, tmp_path))


def test_names_an_architecture_that_is_not_in_the_table(tmp_path: Path) -> None:
    table = NASBench201Table(written(small_table(), tmp_path))
    with pytest.raises(ValueError, match=r"has 4 architectures, and \|nor_conv_3x3~0\|.*is not among them"):
        table.look_up(Genotype.from_nasbench201(BEST))


def test_refuses_a_genotype_of_another_space(tmp_path: Path) -> None:
    table = NASBench201Table(written(small_table(), tmp_path))
    with pytest.raises(ValueError, match="search_space=nasbench201"):
        table.look_up(Genotype.parse("DARTS_V2"))


@pytest.fixture(scope="module")
def packaged() -> NASBench201Table:
    return NASBench201Lookup("nasbench201", None, {}).load()


def test_the_packages_table_has_every_cell_of_the_benchmark(packaged: NASBench201Table) -> None:
    assert packaged.accuracies("cifar10_test", 6 * [OPERATIONS]).shape == 6 * (5,)
    assert len(packaged) == 15_625
    assert 10**5 < PACKAGED.stat().st_size < 10**6
    assert "Copyright (c) since 2020 Xuanyi Dong" in PACKAGED.with_suffix(".txt").read_text()


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
    ("arch", "index", "tests", "rank"),
    [
        (BEST, 6111, (94.37, None, None), 1),
        # What RESULTS.md says of the cells that were chosen there, looked up in a table of another making.
        (SKIPS, 1835, (54.30, 15.61, 16.32), 15_231),
        (
            "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_1x1~0|nor_conv_1x1~1|skip_connect~2|",
            None,
            (92.02, 67.59, 39.94),
            4_769,
        ),
        (
            "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|nor_conv_1x1~0|none~1|none~2|",
            None,
            (88.86, 61.81, 31.83),
            10_487,
        ),
        (
            "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            None,
            (88.35, 60.55, 33.89),
            11_316,
        ),
    ],
)
def test_a_cell_has_the_accuracies_and_the_rank_that_it_had(
    arch: str, index: int | None, tests: tuple[float | None, ...], rank: int, packaged: NASBench201Table
) -> None:
    found = packaged.look_up(Genotype.from_nasbench201(arch))
    assert index is None or found.index == index
    assert found.rank == rank
    for accuracy, value in zip(
        tests, (found.cifar10_test, found.cifar100_test, found.imagenet16_120_test), strict=True
    ):
        assert accuracy is None or value == pytest.approx(accuracy, abs=0.00501)


def test_another_operation_is_not_in_the_packages_table(packaged: NASBench201Table) -> None:
    other = Genotype.from_nasbench201(BEST.replace("nor_conv_1x1", "sep_conv_3x3"))
    with pytest.raises(ValueError, match=r"table of the package has 15,625 .*sep_conv_3x3.* For other operations"):
        packaged.look_up(other)
