"""Numbers as targets: of the columns of a table, of a file beside images, of data made of digits."""

from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
import torch.nn.functional as F
from pyarrow import parquet
from tests.data.small_sets import encoded, image_data, picture, write_image
from tests.data.test_data_configs import make
from torch import Tensor

from archselect.data import HuggingFaceImages, ImageData, ImageFolder, stratified_split, stratified_subset
from archselect.distributed.rng import generator_for


def table(root: Path, label_column: Any, **columns: list[Any]) -> ImageData:
    rows = len(next(iter(columns.values())))
    images = pyarrow.array([encoded(picture(row)) for row in range(rows)], pyarrow.binary())
    for split in ("train", "test"):
        parquet.write_table(pyarrow.table({"img": images, **columns}), root / f"{split}.parquet")
    return image_data(HuggingFaceImages(label_column=label_column), path=root)


def folder(root: Path, *lines: str) -> ImageData:
    for split in ("train", "test"):
        for number in range(3):
            write_image(root / split / "photos" / f"{number}.png", picture(number))
        (root / split / "targets.csv").write_text("\n".join(lines))
    return image_data(ImageFolder(), path=root)


def test_targets_are_columns_of_numbers_or_one_of_decimal_numbers_or_of_lists(tmp_path: Path) -> None:
    numbers: dict[str, list[Any]] = {"age": [3, 1], "weight": [0.5, 2.0], "seen": [[0, 1, 1], [1, 0, 0]]}
    several = table(tmp_path, ["age", "weight"], **numbers)
    assert several.train.labels.tolist() == [[3.0, 0.5], [1.0, 2.0]]
    assert (several.classes, several.class_names) == (2, ("age", "weight"))
    assert table(tmp_path, "weight", **numbers).train.labels.tolist() == [[0.5], [2.0]]
    lists = table(tmp_path, "seen", **numbers)
    assert lists.test.labels.tolist() == numbers["seen"]
    assert lists.class_names == ("seen 0", "seen 1", "seen 2")
    assert table(tmp_path, "age", age=[1, 0]).train.labels.tolist() == [1, 0]  # classes


@pytest.mark.parametrize(
    ("label_column", "column", "told"),
    [
        (
            ["age"],
            [3, None],
            r"finite numbers as targets, but row 1 of .*train\.parquet has nan for target 1 of 1; 1 are",
        ),
        ("age", [float("inf"), 1.0], r"row 0 of .* has inf for target 1"),
        (
            "age",
            [[1, 0], [1]],
            r"as many numbers in every row of the column 'age' .* row 0 has 2 and row 1 1",
        ),
        (
            ["age"],
            ["old", "young"],
            r"numbers as targets in the column 'age' .*, found string\. Name columns of",
        ),
        (["years"], [1.0, 2.0], r"a column 'years' in .*, found img, age\. Name the right one"),
    ],
)
def test_what_a_column_of_targets_cannot_hold_is_named(
    label_column: Any, column: Any, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        _ = table(tmp_path, label_column, age=column).train


def test_a_file_beside_images_names_each_with_its_targets(tmp_path: Path) -> None:
    data = folder(tmp_path, "file,angle,size", "photos/2.png,-1.5,2", "photos/0.png,3e1,4")
    assert data.train.labels.tolist() == [[-1.5, 2.0], [30.0, 4.0]]
    assert data.train.images[:, 0, 0, 0].tolist() == [2, 0]
    assert (data.classes, data.class_names) == (2, ("angle", "size"))
    assert data.notes == [
        f"1 images in {tmp_path / 'train'} are not read: targets.csv has no line for them, such as photos/1.png"
    ]
    before = data.fingerprint()
    (tmp_path / "test" / "targets.csv").write_text("file,angle,size\nphotos/2.png,-1.5,3")
    assert image_data(ImageFolder(), path=tmp_path).fingerprint() != before


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("file,angle", "photos/3.png,1"), r"line 2 of .*targets\.csv names 'photos/3\.png', which is no image in"),
        (("file,angle", "../test/photos/0.png,1"), r"names '\.\./test/photos/0\.png', which is no image in"),
        (("file,angle", "photos/0.png,left"), r"Expected a number for 'angle' in line 2 of .*, found 'left'"),
        (("file,angle", "photos/0.png,1,2"), r"Expected 2 columns in line 2 of .*, found 3"),
        (("file", "photos/0.png"), r"Expected a line 'file,NAME,\.\.\.' in .*targets\.csv, .*the first with 1 columns"),
        (("",), r"found 1 lines, the first with 0 columns"),
        (("file,angle", "photos/0.png,nan"), r"finite numbers as targets, but .*0\.png has nan for target 1 of 1"),
    ],
)
def test_a_line_that_cannot_be_meant_is_named(lines: tuple[str, ...], told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        _ = folder(tmp_path, *lines).train


def test_targets_are_split_at_random_and_alike_for_a_seed() -> None:
    targets = torch.arange(20.0).reshape(10, 2)
    first, second = stratified_split(targets, 0.3, generator_for("a"))
    assert len(first) == 3
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(10))
    assert torch.equal(first, stratified_split(targets, 0.3, generator_for("a"))[0])
    assert not torch.equal(first, stratified_split(targets, 0.3, generator_for("b"))[0])
    subset = stratified_subset(targets, 4, generator_for("a"))
    assert len(subset) == 4 == len(subset.unique())
    assert torch.equal(subset, subset.sort().values)


def test_rotated_digits_are_turned_by_their_targets_which_belong_to_the_data() -> None:
    data, other = rotated(), rotated(seed=1)
    assert (data.class_names, data.image_size, data.channels) == (("angle",), 12, 1)
    assert 59 < data.train.labels.abs().max() <= 60
    assert not torch.equal(data.train.labels, other.train.labels)
    assert data.fingerprint() != other.fingerprint()
    images, upright = (one.train.images[:40, 0].float() for one in (data, rotated(degrees=0.001)))
    back = torch.stack([turned(*pair) for pair in zip(images, -data.train.labels[:40, 0], strict=True)])
    assert (back - upright).abs().mean() < 0.5 * (images - upright).abs().mean()


def rotated(**source: Any) -> ImageData:
    return make("digits_rotated", source=source)


def turned(image: Tensor, degrees: Tensor) -> Tensor:
    """Return an image turned counter-clockwise, by PyTorch."""
    angle, zero = torch.deg2rad(degrees), torch.zeros(())
    rows = [torch.stack([angle.cos(), -angle.sin(), zero]), torch.stack([angle.sin(), angle.cos(), zero])]
    grid = F.affine_grid(torch.stack(rows)[None], [1, 1, *image.shape], align_corners=False)
    return F.grid_sample(image[None, None], grid, align_corners=False)[0, 0]


def test_pairs_of_digits_have_the_labels_of_the_two_that_they_show() -> None:
    pairs, digits = make("digits_pairs").train, make("digits").train
    known = dict(zip(map(content, digits.images[:, 0]), digits.labels.tolist(), strict=True))
    for image, target in zip(pairs.images[:50, 0], pairs.labels, strict=False):
        shown = {known[content(image[4:12, :8])], known[content(image[4:12, 8:])]}
        assert shown == set(target.nonzero().flatten().tolist())


def content(image: Tensor) -> bytes:
    return image.contiguous().numpy().tobytes()
