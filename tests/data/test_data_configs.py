from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from archselect.data import ImageData
from archselect.pipeline.command_line import register_resolvers

FOLDER = Path(__file__).parents[2] / "configs" / "data"
NAMES = sorted(file.stem for file in FOLDER.glob("*.yaml"))


register_resolvers()


def make(name: str, **options: object) -> ImageData:
    config = OmegaConf.load(FOLDER / f"{name}.yaml")
    OmegaConf.set_struct(config, True)
    return instantiate(OmegaConf.merge(config, options))


@pytest.mark.parametrize("name", NAMES)
def test_every_file_makes_data_of_its_name(name: str) -> None:
    assert make(name).name == name


@pytest.mark.parametrize(
    ("name", "classes", "size", "flip"),
    [("cifar10", 10, 32, True), ("cifar100", 100, 32, True), ("svhn", 10, 32, False), ("digits", 10, 8, False)],
)
def test_named_sets_say_classes_size_and_whether_to_flip(name: str, classes: int, size: int, flip: bool) -> None:
    data = make(name)
    assert (data.classes, data.image_size, data.augmentation().flip) == (classes, size, flip)


def test_the_statistics_of_the_digits_are_those_of_their_train_split() -> None:
    data = make("digits")
    pixels = data.train.images.double() / 255
    assert data.normalisation.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=5e-5)
    assert data.normalisation.std == pytest.approx(pixels.std((0, 2, 3)).tolist(), abs=5e-5)


def test_a_path_takes_the_place_of_the_hub(parquet_folder: Path) -> None:
    data = make("cifar10", path=str(parquet_folder), image_size=4)
    assert len(data.train) == 6


def test_named_sets_know_the_names_of_their_classes() -> None:
    assert make("cifar10").class_names[3] == "cat"
    assert make("cifar100").class_names[-1] == "worm"
    assert make("svhn").class_names == make("digits").class_names == tuple("0123456789")


def test_an_image_folder_needs_nothing_but_its_path(class_folders: Path) -> None:
    data = make("image_folder", path=str(class_folders))
    assert (data.classes, data.image_size, len(data.train)) == (2, 4, 4)
