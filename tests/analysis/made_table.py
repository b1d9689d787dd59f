"""A NAS-Bench-201 table of made-up accuracies: all 15,625 architectures, drawn from a seed."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
COLUMNS = [f"{data}_{part}" for data in ("cifar10", "cifar100", "imagenet16_120") for part in ("test", "valid")]


def made_table() -> pd.DataFrame:
    """Return the table, its rows in no order."""
    archs = [
        "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*choice) for choice in itertools.product(OPERATIONS, repeat=6)
    ]
    generator = np.random.default_rng(1)
    values = generator.uniform(10, 95, (len(archs), len(COLUMNS))).round(4)
    table = pd.DataFrame(values, columns=COLUMNS)
    table.insert(0, "arch", archs)
    table = table.sample(frac=1, random_state=2).reset_index(drop=True)
    table.insert(0, "index", range(len(table)))
    return table


def written(folder: Path) -> Path:
    """Write it into a folder and return the file."""
    made_table().to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"
