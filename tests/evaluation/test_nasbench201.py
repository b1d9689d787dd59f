"""The NAS-Bench-201 table answers with the right row, ranks it, and names what is wrong with a file."""

import os
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest

from archselect.evaluation.nasbench201 import ACCURACIES, COLUMNS, NASBench201Table
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


@pytest.mark.parametrize("path", [None, ""])
def test_says_what_to_set_when_no_path_was_given(path: str | None) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.table=/path"):
        NASBench201Table(path)


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
    with pytest.raises(ValueError, match=rf"Column {column} .*1 row\(s\) do not.*avg_pool_3x3~0"):
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
    with pytest.raises(ValueError, match=r"1 row\(s\) lack one: the first is row 1"):
        NASBench201Table(written(table, tmp_path))


def test_refuses_an_architecture_that_occurs_twice(tmp_path: Path) -> None:
    table = pd.concat([small_table(), small_table().iloc[[3]]])
    with pytest.raises(ValueError, match=r"1 row\(s\) repeat one: the first is \|none~0\|"):
        NASBench201Table(written(table, tmp_path))


def test_names_an_architecture_that_is_not_in_the_table(tmp_path: Path) -> None:
    table = NASBench201Table(written(small_table(), tmp_path))
    with pytest.raises(ValueError, match=r"has 4 architectures, and \|nor_conv_3x3~0\|.*is not among them"):
        table.look_up(Genotype.from_nasbench201(BEST))


def test_refuses_a_genotype_of_another_space(tmp_path: Path) -> None:
    table = NASBench201Table(written(small_table(), tmp_path))
    with pytest.raises(ValueError, match="search_space=nasbench201"):
        table.look_up(Genotype.parse("DARTS_V2"))


def test_agrees_with_the_benchmark_itself() -> None:
    root = Path(os.environ.get("DATA_ROOT", Path(__file__).parents[3] / "shared" / "data"))
    path = root / "nasbench201" / "nasbench201-200epochs.csv"
    if not path.is_file():
        pytest.skip(f"the table of all 15,625 architectures is not at {path}; set DATA_ROOT to where it is")
    table = NASBench201Table(path)

    best = table.look_up(Genotype.from_nasbench201(BEST))
    skips = table.look_up(Genotype.from_nasbench201(SKIPS))

    assert (best.index, best.rank, best.of) == (6111, 1, 15625)
    assert best.cifar10_test == pytest.approx(94.37, abs=0.005)
    assert skips.index == 1835
    assert [skips.cifar10_test, skips.cifar100_test, skips.imagenet16_120_test] == pytest.approx(
        [54.30, 15.61, 16.32], abs=0.005
    )
