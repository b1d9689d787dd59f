"""Data sets of one's own: what they tell of themselves, what is measured, and what is not taken for another set."""

from collections.abc import Sequence
from pathlib import Path

import datasets
import pyarrow
import pytest
from hydra.errors import InstantiationException
from pyarrow import parquet
from tests.data.small_sets import encoded, image_data, picture, write_parquet
from tests.data.test_data_configs import make

from archselect.data import HuggingFaceImages, ImageData

NAMES = ["crow", "gull", "wren"]


def saved(
    folder: Path,
    names: Sequence[str] = NAMES,
    image: str = "photo",
    label: str = "species",
    size: int = 4,
    **splits: Sequence[int],
) -> Path:
    """Write a data set with columns of images, classes and numbers; of each split the labels are given."""
    features = datasets.Features(
        {"id": datasets.Value("int32"), image: datasets.Image(), label: datasets.ClassLabel(names=list(names))}
    )
    made = {}
    for split, labels in splits.items():
        photos = [picture(i, size) for i in range(len(labels))]
        columns = {"id": list(range(len(labels))), image: photos, label: labels}
        made[split] = datasets.Dataset.from_dict(columns, features)
    datasets.DatasetDict(made).save_to_disk(folder)
    return folder


def own(path: Path, image_size: int | None = None, **source: str) -> ImageData:
    return image_data(HuggingFaceImages(**source), path=path, image_size=image_size)  # type: ignore[arg-type]


NAMED = {"train_split": "training", "test_split": "validation"}


@pytest.mark.parametrize("layout", ["saved", "parquet"])
def test_a_set_tells_columns_classes_names_and_size_and_no_validation_is_the_test_unasked(
    layout: str, tmp_path: Path
) -> None:
    place = saved(tmp_path / "saved", training=[0, 1, 2, 2], validation=[2, 1, 0])
    if layout == "parquet":
        both, place = datasets.load_from_disk(str(place)), tmp_path / "parquet"
        (place / "data").mkdir(parents=True)
        for split, rows in both.items():
            rows.to_parquet(place / "data" / f"{split}-00000-of-00001.parquet")
    data = own(place, test_split="validation")
    assert (data.classes, data.class_names, data.image_size) == (3, ("crow", "gull", "wren"), 4)
    assert data.train.labels.tolist() == [0, 1, 2, 2]
    assert (data.test.images[:, 0, 0, 0].tolist(), data.test.labels.tolist()) == ([0, 1, 2], [2, 1, 0])
    assert data.notes == []
    with pytest.raises(FileNotFoundError, match=r"no test split.*source\.test_split=\.\.\. \(training, validation\)"):
        _ = own(place).test


def test_columns_that_cannot_be_told_are_asked_for_with_those_there_are(tmp_path: Path) -> None:
    image, number = pyarrow.array([encoded(picture(0))] * 2), pyarrow.array([0, 1])
    parquet.write_table(pyarrow.table({"a": image, "b": image, "n": number, "m": number}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"holds images\? a and b may; it has a .*data\.source\.image_column="):
        _ = own(tmp_path).classes
    with pytest.raises(ValueError, match=r"holds the classes .*\? n and m may; .*data\.source\.label_column="):
        _ = own(tmp_path, image_column="b").classes
    assert own(tmp_path, image_column="b", label_column="m").classes == 2


def test_both_splits_have_the_same_classes_in_the_same_order(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "one", training=[0, 1, 2]), saved(tmp_path / "two", NAMES[::-1], validation=[0, 1, 2])
    (other / "validation").rename(one / "validation")
    (one / "dataset_dict.json").write_text('{"splits": ["training", "validation"]}')
    with pytest.raises(ValueError, match=r"test images have other classes .*: number 0 is 'wren' and not 'crow'"):
        _ = own(one, **NAMED).test


def test_classes_that_a_split_has_none_of_are_told(tmp_path: Path) -> None:
    data = own(saved(tmp_path, training=[0, 1, 0, 1], validation=[1, 1]), **NAMED)
    assert len(data.train) == 4
    assert data.notes == ["the train images have none of 1 of the 3 classes (wren): nothing can be learnt of them"]
    assert data.test_labels.tolist() == [1, 1]
    assert data.count_classes(data.train.labels) == [2, 2, 0]
    assert data.notes[1].startswith("the test images have none of 2 of the 3 classes (crow, wren): nothing is said of")


def test_images_of_other_sizes_are_resized_on_request(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1], [encoded(picture(0)), encoded(picture(1, 8))])
    with pytest.raises(ValueError, match=r"row 1 of .* is 8 pixels high .*data\.image_size.*data=huggingface"):
        _ = own(tmp_path).train
    assert own(tmp_path, image_size=8).train.images.shape == (2, 3, 8, 8)


def test_without_a_place_it_says_where_data_may_lie() -> None:
    with pytest.raises(ValueError, match=r"data\.path=FOLDER .* or data\.source\.repository=OWNER/NAME"):
        _ = make("huggingface").classes


# --- Mean and standard deviation. ---


@pytest.mark.parametrize("choice", ["image_folder", "huggingface"])
def test_mean_and_std_of_own_images_are_measured_on_those_that_train(choice: str, class_folders: Path) -> None:
    for subset in (None, 2):
        data = make(choice, path=str(class_folders), train_subset=subset)
        pixels = data.train.images.double() / 255
        assert data.normalisation.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=5e-5)
        assert data.normalisation.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=5e-5)
    given = make(choice, path=str(class_folders), mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    assert (given.normalisation.mean, given.normalisation.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (data.is_measured, given.is_measured) == (True, False)


# --- A name for one data set is not kept for another. ---


@pytest.mark.parametrize(
    ("option", "value"), [("image_column", "photo"), ("label_column", "species"), ("repository", "my/birds")]
)
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn"])
def test_another_source_under_the_name_of_a_published_set_is_refused(name: str, option: str, value: str) -> None:
    told = rf"data\.source\.{option} is '{value}', but data={name} is one data set.*data=huggingface data\.path=FOLDER"
    with pytest.raises(InstantiationException, match=told):
        make(name, source={option: value})
    assert make(name, source={option: value}, published=None).name == name


def test_a_source_that_is_none_is_refused_before_it_is_compared_with_the_published_one() -> None:
    with pytest.raises(
        InstantiationException, match=r"data\.source must be a subclass of .*Source, named by its _target_; got None"
    ):
        make("cifar10", source=None)


def test_other_classes_under_the_name_of_a_published_set_are_refused(tmp_path: Path) -> None:
    place = saved(tmp_path, [*"abcdefghij"], "img", "label", 32, train=[0, 1])
    with pytest.raises(ValueError, match=r"number 0 is 'a' and not 'airplane'\. Another data set is data=huggingface"):
        _ = make("cifar10", path=str(place)).train
    assert make("cifar10", path=str(place), published=None).train.labels.tolist() == [0, 1]


def test_the_classes_of_a_copy_may_be_spelt_a_little_differently_or_not_at_all(tmp_path: Path) -> None:
    for number, names in enumerate((make("cifar100").class_names, [str(i) for i in range(100)])):
        spelt = [name.replace("_", " ").title() for name in names]
        place = saved(tmp_path / str(number), spelt, "img", "fine_label", 32, train=[0, 99])
        data = make("cifar100", path=str(place))
        assert data.train.labels.tolist() == [0, 99]
        assert data.class_names[:2] == ("apple", "aquarium_fish")


def test_classes_of_own_data_may_be_given_other_names(tmp_path: Path) -> None:
    place = saved(tmp_path, train=[0, 1, 2])
    data = make("huggingface", path=str(place), class_names=["Corvus", "Larus", "Troglodytes"])
    assert (data.train.labels.tolist(), data.class_names[2]) == ([0, 1, 2], "Troglodytes")
