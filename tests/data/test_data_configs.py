from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from archselect.data import ImageData
from archselect.pipeline.command_line import register_resolvers

FOLDER = Path(__file__).parents[2] / "configs" / "data"

register_resolvers()


def make(name: str, **options: object) -> ImageData:
    config = OmegaConf.load(FOLDER / f"{name}.yaml")
    OmegaConf.set_struct(config, True)
    return instantiate(OmegaConf.merge(config, options))


@pytest.mark.parametrize(
    ("name", "classes", "size", "flip", "last"),
    [
        ("cifar10", 10, 32, True, "truck"),
        ("cifar100", 100, 32, True, "worm"),
        ("svhn", 10, 32, False, "9"),
        ("digits", 10, 8, False, "9"),
    ],
)
def test_named_sets_say_classes_size_and_whether_to_flip(
    name: str, classes: int, size: int, flip: bool, last: str
) -> None:
    data = make(name)
    assert (data.name, data.classes, data.image_size, data.augmentation().flip) == (name, classes, size, flip)
    assert (len(data.class_names), data.class_names[-1]) == (classes, last)


def test_the_statistics_of_the_digits_are_those_of_their_train_split() -> None:
    data = make("digits")
    pixels = data.train.images.double() / 255
    assert data.normalisation.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=5e-5)
    assert data.normalisation.std == pytest.approx(pixels.std((0, 2, 3)).tolist(), abs=5e-5)


def test_a_path_takes_the_place_of_the_hub_and_is_all_that_own_images_need(
    parquet_folder: Path, class_folders: Path
) -> None:
    assert len(make("cifar10", path=str(parquet_folder), image_size=4).train) == 6
    data = make("image_folder", path=str(class_folders))
    assert (data.classes, data.image_size, len(data.train)) == (2, 4, 4)
