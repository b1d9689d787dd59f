from pathlib import Path

import pytest
from tests.data.small_sets import picture, write_image, write_parquet


@pytest.fixture
def parquet_folder(tmp_path: Path) -> Path:
    """Six images of two classes to train on, two to test on."""
    write_parquet(tmp_path / "set" / "train.parquet", [0, 1, 0, 1, 0, 1])
    write_parquet(tmp_path / "set" / "test.parquet", [1, 0])
    return tmp_path / "set"


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Two images each of bees and ants to train on, one of each to test on."""
    for split, count in (("train", 2), ("test", 1)):
        for name, first in (("bee", 20), ("ant", 10)):
            for i in range(count):
                write_image(tmp_path / "animals" / split / name / f"{i}.png", picture(first + i))
    return tmp_path / "animals"
