"""The rows of the table: per architecture the mean accuracies over its seeds, after the last epoch."""

import itertools
import math
from typing import Any, Final

import pandas as pd

from archselect.evaluation.convert.files import Benchmark
from archselect.evaluation.convert.stand_ins import ConversionError
from archselect.evaluation.convert.unpickler import EPOCHS, LAST
from archselect.evaluation.nasbench201 import ARCH, COLUMNS

OPERATIONS: Final = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELLS: Final = frozenset(ARCH.format(*choice) for choice in itertools.product(OPERATIONS, repeat=6))
"""The 15,625 architectures of the benchmark."""

DECIMALS: Final = 4

SOURCES: Final = {
    "cifar10_test": ("cifar10", "ori-test"),
    "cifar10_valid": ("cifar10-valid", "x-valid"),
    "cifar100_test": ("cifar100", "x-test"),
    "cifar100_valid": ("cifar100", "x-valid"),
    "imagenet16_120_test": ("ImageNet16-120", "x-test"),
    "imagenet16_120_valid": ("ImageNet16-120", "x-valid"),
}
"""Which training and which images the accuracies of a column come from."""


def benchmark_table(benchmark: Benchmark, name: str, incomplete: bool = False) -> pd.DataFrame:
    """Return a row for each architecture that has results, by index.

    Args:
        benchmark: What was read.
        name: What errors call it.
        incomplete: Whether architectures may be missing.

    Raises:
        ConversionError: It is another search space, or architectures or results of one are missing.
    """
    _check_archs(benchmark.archs, name)
    if benchmark.count < len(CELLS) and not incomplete:
        raise ConversionError(
            f"{name} has results of {benchmark.count:,} of the {len(CELLS):,} architectures: fetch the whole "
            "benchmark, or add --incomplete for a table of these."
        )
    rows = [_row(index, benchmark.archs, results, name) for index, results in benchmark.results]
    return pd.DataFrame(rows, columns=[*COLUMNS, "n_seeds"]).sort_values("index", ignore_index=True)


def _check_archs(archs: list[Any], name: str) -> None:
    for arch in archs:
        if type(arch) is not str or arch not in CELLS:
            raise ConversionError(
                f"{name} is of another search space: {arch!r} is no cell of NAS-Bench-201. Take the file of the "
                "topology search space (tss)."
            )
    if len(set(archs)) != len(archs):
        raise ConversionError(f"{name} lists an architecture twice.")


def _row(index: Any, archs: list[str], results: Any, name: str) -> dict[str, Any]:
    if type(index) is not int or not 0 <= index < len(archs):
        raise ConversionError(f"{name} has results of an architecture {index!r}, and {len(archs):,} architectures.")
    which = f"architecture {index} ({archs[index]}) in {name}"
    try:
        trained = results["full" if "full" in results else "200"]
        if trained["arch_str"] != archs[index]:
            raise ConversionError(f"The results of {which} are those of {trained['arch_str']}.")
        accuracies = {column: _accuracies(trained, *source, which) for column, source in SOURCES.items()}
    except (KeyError, TypeError) as error:
        raise ConversionError(f"The results of {which} after {EPOCHS} epochs lack {error}.") from error
    means = {column: round(math.fsum(values) / len(values), DECIMALS) for column, values in accuracies.items()}
    return {"index": index, "arch": archs[index], **means, "n_seeds": len(accuracies["cifar10_test"])}


def _accuracies(trained: dict[str, Any], data: str, images: str, which: str) -> list[float]:
    """Return the accuracies with each seed."""
    trials = [trained["all_results"][data, seed] for seed in trained["dataset_seed"][data]]
    if not trials:
        raise ConversionError(f"The results of {which} have no seed on {data}.")
    if wrong := [trial["epochs"] for trial in trials if trial["epochs"] != EPOCHS]:
        raise ConversionError(
            f"The results of {which} on {data} are of {wrong[0]} epochs; the table's are of {EPOCHS}."
        )
    accuracies = [trial["eval_acc1es"][images + LAST] for trial in trials]
    for accuracy in accuracies:
        if type(accuracy) is not float or not 0 <= accuracy <= 100:
            raise ConversionError(f"An accuracy of {which} on {data}, {images}, is {accuracy!r}, no percentage.")
    return accuracies
