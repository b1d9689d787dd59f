"""Images on disk give the batches that images in memory give: the resident loader is the oracle."""

import io
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import datasets
import pytest
import torch
from PIL import Image
from rich.console import Console
from tests.data.small_sets import encoded, folder_data, hub_data, picture, write_image, write_parquet
from tests.evaluation.test_retrain_module import protocol
from tests.search import small_search

from archselect.data import DeviceLoader, ImageData, Normalisation, StreamedImages, StreamLoader, batches_of, tables
from archselect.data import stream as streaming
from archselect.data.decode import EncodedImages
from archselect.data.pixels import BrokenImageError, PixelFormat
from archselect.distributed.process_group import Shard
from archselect.pipeline.evaluation_stage import retraining_loaders
from archselect.search.data import fixed_batches, search_loaders

CPU = torch.device("cpu")
PER_CLASS = 12
BROKEN = ("ant/03.png", "ant/04.png", "bee/11.png")


@pytest.fixture(autouse=True)
def _keep_nothing_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "KEPT_BELOW", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of a dozen images of many sizes, each another one, to train on; a quarter of them to test on."""
    for split, count in (("train", PER_CLASS), ("test", 3)):
        for label, name in enumerate(("ant", "bee")):
            for i in range(count):
                write_image(tmp_path / split / name / f"{i:02}.png", picture(50 * label + i, size=6 + i % 3))
    return tmp_path


def streamed(path: Path, **options: object) -> ImageData:
    return folder_data(path, **{"image_size": 6, "storage": "stream", "workers": 3} | options)


def assert_same(first: Iterable[object], second: Iterable[object]) -> None:
    """Compare trees of tensors to the last bit."""
    for one, other in zip(first, second, strict=True):
        if isinstance(one, torch.Tensor):
            assert isinstance(other, torch.Tensor)
            assert one.dtype == other.dtype and one.stride() == other.stride() and torch.equal(one, other)
        else:
            assert_same(one, other)  # type: ignore[arg-type]


def in_both(folder: Path, **options: object) -> Iterator[ImageData]:
    for storage in ("memory", "stream"):
        yield streamed(folder, storage=storage, **options)


@pytest.mark.parametrize("flip", [True, False])
def test_every_batch_of_a_search_is_what_it_is_in_memory(folder: Path, flip: bool) -> None:
    """Weights and alpha, of which the second part is shorter and begins again, and the images that are validated on."""
    method = small_search.method(weight_share=0.7, batch_size=4)
    resident, on_disk = (
        search_loaders(data, method, CPU, 3, "search", held_out_share=0.3)
        for data in in_both(folder, train_subset=20, flip=flip, mean=None, std=None)
    )
    assert isinstance(on_disk.train.weight_batches, StreamLoader) and isinstance(on_disk.val, StreamLoader)
    assert len(resident.train) == 4 > len(resident.train.architecture_batches)
    for epoch in range(2):
        resident.train.set_epoch(epoch)
        on_disk.train.set_epoch(epoch)
        assert_same(resident.train, on_disk.train)
    assert_same(resident.val, on_disk.val)


def test_every_batch_of_a_retraining_is_what_it_is_in_memory(folder: Path) -> None:
    """With cutout; a share is held out; and the test images."""
    retraining = protocol(batch_size=5, validation_share=0.25, cutout=3)
    jobs: list[Any] = [SimpleNamespace(seed=1, data=data) for data in in_both(folder)]
    resident, on_disk = (retraining_loaders(job, retraining, CPU) for job in jobs)
    assert_same(resident.train, on_disk.train)
    assert resident.val and on_disk.val
    assert_same(resident.val, on_disk.val)
    assert_same(*(fixed_batches(job.data, job.data.test, 4, CPU, 1) for job in jobs))


def test_several_processes_read_their_parts_only(folder: Path) -> None:
    resident, on_disk = (
        search_loaders(data, small_search.method(batch_size=5), CPU, 0, "search") for data in in_both(folder)
    )
    with mock.patch.object(EncodedImages, "pixels", autospec=True, side_effect=EncodedImages.pixels) as decoded:
        for rank in range(2):
            with mock.patch("archselect.data.loader.shard", return_value=Shard(rank, 2)):
                assert_same(resident.train, on_disk.train)
    assert decoded.call_count == 2 * 12  # of the weights, and as many of alpha


def test_a_pass_may_begin_after_some_batches(folder: Path) -> None:
    """As a run does that was cut off in an epoch: the batches of alpha go on in the repetition that they were in."""
    method = small_search.method(weight_share=0.7, batch_size=3)
    for data in in_both(folder):
        train = search_loaders(data, method, CPU, 0, "search").train
        whole = list(train)
        train.skip(4)
        assert len(whole) == 6 > 4 > len(train.architecture_batches)
        assert_same(whole[4:], train)
        assert_same(whole, train)


def test_mean_and_std_are_those_of_all_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CHUNK", 5)
    resident, on_disk = in_both(folder, mean=None, std=None)
    assert resident.normalisation == on_disk.normalisation


def test_images_read_in_one_order_for_good_are_kept_where_they_are_few(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "KEPT_BELOW", 6 * 6 * 6 * 3 + 1)
    resident, on_disk = in_both(folder)
    kept, large = (fixed_batches(on_disk, images, 4, CPU, 0) for images in (on_disk.test, on_disk.train))
    assert (type(kept), type(large)) == (DeviceLoader, StreamLoader)
    assert_same(fixed_batches(resident, resident.test, 4, CPU, 0), kept)


@pytest.mark.parametrize(("memory", "is_on_disk"), [(8 * 2592, False), (8 * 2592 - 8, True)])
def test_a_split_stays_on_disk_where_it_takes_more_than_an_eighth_of_the_memory(
    folder: Path, memory: int, is_on_disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 images of 6 x 6 pixels of 3 bytes."""
    monkeypatch.setattr(streaming, "total_memory", lambda: memory)
    data = streamed(folder, storage="auto")
    assert (isinstance(data.train, StreamedImages), isinstance(data.test, StreamedImages)) == (is_on_disk, False)


def test_a_table_stays_on_disk_too(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1] * 6)
    write_parquet(tmp_path / "test.parquet", [1, 0])
    resident, on_disk = (hub_data(tmp_path, storage=storage, workers=2) for storage in ("memory", "stream"))
    assert isinstance(on_disk.train, StreamedImages)
    batches = (search_loaders(data, small_search.method(), CPU, 0, "search") for data in (resident, on_disk))
    assert_same(*(one.train for one in batches))


def broken(
    folder: Path, rule: str, console: Console | None = None, names: Iterable[str] = ("ant/03.png",)
) -> ImageData:
    for name in names:
        (folder / "train" / name).write_bytes((folder / "train" / name).read_bytes()[:50])
    return streamed(folder, on_broken=rule, console=console)


def test_a_broken_image_is_named_and_stops_the_run(folder: Path) -> None:
    train = search_loaders(broken(folder, "stop"), small_search.method(), CPU, 0, "search").train
    with pytest.raises(BrokenImageError, match=r"ant/03\.png is .*What was computed is kept.*on_broken=skip goes on"):
        list(train)
    assert not decoding()


def test_another_image_of_its_class_and_part_stands_for_a_broken_one_which_is_told_of_once(folder: Path) -> None:
    """Whatever number of threads meets it; in front of the first of its class stands the last."""
    console = Console(record=True, quiet=False, width=200, file=io.StringIO())
    seen = []
    for workers in (1, 4):
        data = broken(folder, "skip", console, BROKEN)
        data.workers = workers
        seen.append([data.train.select(part) for part in (torch.arange(24), torch.arange(23, -1, -1))])
        shown = [[int(n) for n in part.in_memory().images[:, 0, 0, 0]] for part in seen[-1]]
        ants, bees = [0, 1, 2, 5, 5, 5, *range(6, 12)], [*range(50, 61), 50]
        assert shown[0] == ants + bees
        ants, bees = [11, 10, 9, 8, 7, 6, 5, 2, 2, 2, 1, 0], [60, *range(60, 49, -1)]
        assert shown[1] == bees + ants
    assert sorted(data.broken.met) == [
        str(folder / "train" / name) for name in ("ant/03.png", "ant/04.png", "bee/11.png")
    ]
    text = console.export_text()
    assert [text.count(f"{name} is") for name in BROKEN] == [2, 2, 2]  # two data


def test_an_image_with_targets_takes_them_along_where_it_stands_for_a_broken_one() -> None:
    def open_one(row: int) -> Image.Image:
        if row in (1, 3):
            raise SyntaxError("broken")
        return picture(row)

    targets, broken = torch.arange(8.0).view(4, 2), streaming.BrokenImages("skip", Console(quiet=True))
    images = StreamedImages(EncodedImages(targets, open_one, str), torch.arange(4), PixelFormat(4), broken, 2)
    batches = list(batches_of(images, 2, CPU, Normalisation([0] * 3, [1 / 255] * 3), ("targets",), shuffle=True))
    numbers = torch.cat([pixels[:, 0, 0, 0] for pixels, _ in batches])
    assert sorted(numbers.tolist()) == [0, 0, 2, 2]
    assert torch.equal(torch.cat([labels for _, labels in batches]), targets[numbers.long()])
    kept, part = images.in_memory(), torch.tensor([1, 0, 3, 3, 2])
    assert torch.equal(kept.shown_labels, targets[[0, 2, 2, 0]]) and torch.equal(kept.labels, targets)
    assert torch.equal(kept.select(part).shown_labels, targets[[0, 0, 2, 2, 2]])
    assert_same(*((one.images, one.shown_labels) for one in (kept.select(part), images.select(part).in_memory())))


@pytest.mark.parametrize("channels", [None, 3])
def test_broken_images_are_left_out_of_images_in_memory_too(folder: Path, channels: int | None) -> None:
    """Those of the subset, in every part of it, with the measured mean and std; even where only a header is read."""
    for name in BROKEN:
        (folder / "train" / name).write_bytes(b"none")
    options = {"on_broken": "skip", "channels": channels, "mean": None, "std": None, "train_subset": 22}
    both = list(in_both(folder, console=Console(quiet=True), **options))
    method = small_search.method(weight_share=0.7, batch_size=4)
    resident, on_disk = (search_loaders(data, method, CPU, 3, "search", held_out_share=0.3) for data in both)
    assert isinstance(resident.train.weight_batches, DeviceLoader)
    assert_same(resident.train, on_disk.train)
    assert_same(resident.val, on_disk.val)
    assert len(both[0].broken.met) >= 2 and both[0].broken.met == both[1].broken.met


def test_size_and_channels_are_those_of_the_first_image_that_can_be_read(folder: Path) -> None:
    (folder / "train" / "ant" / "00.png").write_bytes(b"none")
    data = streamed(folder, on_broken="skip", image_size=None, channels=None)
    assert (data.image_size, data.channels) == (7, 3)  # of 01.png
    for option in ("image_size", "channels"):
        with pytest.raises(BrokenImageError, match=r"ant/00\.png is not an image"):
            getattr(streamed(folder, image_size=None, channels=None), option)
    for file in (folder / "train").rglob("*.png"):
        file.write_bytes(b"none")
    for option in ("image_size", "channels"):
        with pytest.raises(BrokenImageError, match=r"bee/11\.png is not an image"):
            getattr(streamed(folder, on_broken="skip", image_size=None, channels=None), option)


def test_a_part_in_memory_without_an_image_of_a_class_that_can_be_read_is_refused(folder: Path) -> None:
    train = broken(folder, "skip", Console(quiet=True)).train.in_memory()  # type: ignore[union-attr]
    with pytest.raises(BrokenImageError, match=r"no other of its class and part can be read"):
        train.select(torch.tensor([3, 14]))


def test_a_class_without_any_image_that_can_be_read_ends_the_run(folder: Path) -> None:
    data = broken(folder, "skip", Console(quiet=True), [f"ant/{i:02}.png" for i in range(PER_CLASS)])
    with pytest.raises(BrokenImageError, match=r"No other image of its class can be read"):
        list(search_loaders(data, small_search.method(), CPU, 0, "search").train)


def test_a_file_that_cannot_be_read_now_is_not_taken_for_a_broken_one(folder: Path) -> None:
    data = streamed(folder, on_broken="skip")
    _ = data.train
    (folder / "train" / "ant" / "03.png").unlink()
    with pytest.raises(ValueError, match=r"ant/03\.png is not an image that can be read \(.*No such file"):
        list(search_loaders(data, small_search.method(), CPU, 0, "search").train)


def decoding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("ends", ["closed", "interrupted"])
def test_no_thread_outlives_a_pass_that_ends_early(folder: Path, ends: str) -> None:
    train = search_loaders(streamed(folder), small_search.method(batch_size=2), CPU, 0, "search").train
    batches = train.weight_batches.repetition(0)
    next(batches)
    assert 1 <= len(decoding()) <= 3
    if ends == "closed":
        batches.close()
    else:
        with pytest.raises(KeyboardInterrupt), mock.patch.object(Future, "result", side_effect=KeyboardInterrupt):
            next(batches)
    assert not decoding()


def test_no_more_batches_than_said_are_decoded_ahead(folder: Path) -> None:
    on_disk = streamed(folder).train
    with mock.patch.object(StreamedImages, "read", autospec=True, return_value=[0]) as read:
        batches = iter(batches_of(on_disk, 2, CPU, Normalisation([0] * 3, [1] * 3), ("a",), shuffle=True))
        next(batches)
        wait_for = time.monotonic() + 5
        while read.call_count < 2 * (1 + streaming.AHEAD) and time.monotonic() < wait_for:
            time.sleep(0.01)
        time.sleep(0.05)
    assert read.call_count == 2 * (1 + streaming.AHEAD)  # a batch of two images is read by two of the three threads
    batches.close()


def test_parquet_files_above_a_size_are_mapped_from_a_file_that_datasets_makes_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for part, labels in enumerate(([0, 1, 1], [0, 0])):
        images = [encoded(picture(10 * part + row)) for row in range(len(labels))]
        write_parquet(tmp_path / f"train-{part}.parquet", labels, images)
    read = hub_data(tmp_path).train
    monkeypatch.setattr(tables, "READ_UP_TO", 0)
    mapped = hub_data(tmp_path, storage="stream").train
    assert isinstance(mapped, StreamedImages)
    assert list((tmp_path / "cache").rglob("*.arrow"))
    assert_same(*((one.images, one.labels) for one in (read, mapped.in_memory())))
    write_parquet(tmp_path / "train-1.parquet", [0, 1], label_column="other")
    with pytest.raises(ValueError, match=r"do not have the same columns \(.*other"):
        _ = hub_data(tmp_path, storage="stream").train
