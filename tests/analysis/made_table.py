"""A NAS-Bench-201 table of made-up accuracies: all 15,625 architectures, drawn from a seed, in no order."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from archselect.evaluation.nasbench201 import ACCURACIES, ARCH, OPERATIONS


def written(folder: Path) -> Path:
    """Write it into a folder and return the file."""
    archs = [ARCH.format(*choice) for choice in itertools.product(OPERATIONS, repeat=6)]
    values = np.random.default_rng(1).uniform(10, 95, (len(archs), len(ACCURACIES))).round(4)
    table = pd.DataFrame(values, columns=list(ACCURACIES), index=archs).rename_axis("arch").reset_index()
    table.sample(frac=1, random_state=2).reset_index(drop=True).to_csv(folder / "table.csv", index_label="index")
    return folder / "table.csv"
