"""Images and tables of somebody else's making: one sentence, and neither a program nor much memory."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from archselect.data import HubImages, ImageFolder
from archselect.data.decode import EncodedImages
from archselect.data.pixels import PixelFormat
from archselect.evaluation import NASBench201Table
from archselect.evaluation.nasbench201 import COLUMNS
from archselect.genotype import Genotype
from archselect.safe_io import files as limits

ARCH = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


def png(width: int, height: int) -> bytes:
    """Return a PNG that says it has so many pixels, and holds none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def written(folder: Path, images: list[object], kind: pyarrow.DataType | None = None) -> Path:
    """Write a table of images, each with the label 0."""
    table = pyarrow.table({"img": pyarrow.array(images, kind), "label": [0] * len(images)})
    parquet.write_table(table, folder / "train.parquet", compression="zstd")
    return folder


def repeated(value: bytes | str, times: int) -> pyarrow.DictionaryArray:
    """Return a column that has a value many times, and keeps it once, in memory and in a file."""
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * times), pyarrow.array([value]))


def opened(path: Path, train_split: str | None = None) -> EncodedImages:
    return HubImages(None, "img", "label", path=path, train_split=train_split).open("train")


def decode(path: Path) -> np.ndarray:
    return opened(path).pixels(0, PixelFormat(8, resize=True))


@pytest.mark.parametrize(
    ("width", "height", "why"),
    [(50_000, 50_000, "2500000000 pixels"), (10_000, 10_000, "10000 x 10000 pixels, and at most 80,000,000")],
)
def test_a_small_file_with_very_many_pixels_is_not_decoded(width: int, height: int, why: str, tmp_path: Path) -> None:
    bomb = png(width, height)
    assert len(bomb) < 100
    with pytest.raises(ValueError, match=rf"row 0 of .*train.parquet is not an image that can be read .*{why}"):
        decode(written(tmp_path, [bomb]))
    folder = tmp_path / "folder"
    (folder / "train" / "a").mkdir(parents=True)
    (folder / "train" / "a" / "image.png").write_bytes(bomb)
    with pytest.raises(ValueError, match=rf"image.png is not an image that can be read .*{why}"):
        ImageFolder(path=folder).open("train").size()


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA"])
def test_formats_that_are_programs_or_rare_are_no_images(kind: str, tmp_path: Path) -> None:
    Image.open(io.BytesIO(encoded(kind)))  # Pillow knows it, and would have Ghostscript run an EPS
    with pytest.raises(ValueError, match="its format is not known"):
        decode(written(tmp_path, [encoded(kind)]))


def test_a_table_does_not_name_files_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "private.png").write_bytes(encoded("PNG"))
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    with pytest.raises(ValueError, match="it names a file in place of the image"):
        decode(written(tmp_path, [{"bytes": None, "path": str(tmp_path / "private.png")}], kind))


@pytest.mark.parametrize("name", ["../private.arrow", "/etc/passwd", "link.arrow", None])
def test_a_saved_set_does_not_name_files_outside_of_it(name: str | None, tmp_path: Path) -> None:
    import datasets

    table = datasets.Dataset.from_dict({"img": [encoded("PNG")], "label": [0]})
    table.save_to_disk(tmp_path / "private")
    table.save_to_disk(tmp_path / "set")
    (own,) = (tmp_path / "private").glob("*.arrow")
    own.rename(tmp_path / "private.arrow")
    (tmp_path / "set" / "link.arrow").symlink_to(tmp_path / "private.arrow")
    state = json.loads((tmp_path / "set" / "state.json").read_text())
    state["_data_files"] = [{"filename": name}]
    (tmp_path / "set" / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match=r"names the file .*, which does not lie in"):
        opened(tmp_path / "set")


@pytest.mark.parametrize("split", ["../private", "/etc", ".."])
def test_a_saved_set_does_not_name_splits_outside_of_it(split: str, tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": [split]}))
    with pytest.raises(FileNotFoundError, match="has no train split"):
        opened(tmp_path, split)


def test_names_of_classes_hold_nothing_that_a_terminal_obeys(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"img": datasets.Image(), "label": datasets.ClassLabel(names=["a\x1b[2J", "b" * 9999])}
    )
    rows = {"img": [{"bytes": encoded("PNG"), "path": None}], "label": [1]}
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
    assert opened(tmp_path).class_names == ("a\N{REPLACEMENT CHARACTER}[2J", "b" * 100)


def test_a_column_that_grows_many_times_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pyarrow.table({"img": repeated(b"\0" * 2**18, 80_000), "label": [0] * 80_000})  # 20 GB
    parquet.write_table(table, tmp_path / "train.parquet", dictionary_pagesize_limit=2**30, store_schema=False)
    assert (tmp_path / "train.parquet").stat().st_size < 2**20
    monkeypatch.setattr("archselect.data.tables.EXPANSION_FREE", 2**24)
    pool = pyarrow.default_memory_pool()
    peak = max(pool.max_memory(), pool.bytes_allocated() + 2**27)
    with pytest.raises(ValueError, match=r"train.parquet takes more than .* bytes in memory, many times its size"):
        opened(tmp_path)
    assert pool.max_memory() <= peak


def test_a_value_that_is_large_by_itself_is_not_read_and_many_small_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archselect.data.tables.EXPANSION_FREE", 2**20)
    with pytest.raises(ValueError, match="bytes in memory, many times its size"):
        opened(written(tmp_path, [b"\0" * 2**22]))
    stored = opened(written(tmp_path, [encoded("PNG")] * 1000))
    assert len(stored) == 1000
    assert stored.pixels(999, PixelFormat(8)).shape == (8, 8, 3)


# --- The table of NAS-Bench-201. ---


def rows(number: int, arch: str = ARCH) -> str:
    return ",".join(COLUMNS) + "\n" + f"0,{arch},1,1,1,1,1,1\n" * number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (rows(limits.TABLE_ROWS + 1, ""), "more than 100,000 rows"),
        (rows(1).replace("index", "index" * 14_000_000), r"has 70,[\d,]+ bytes, and such a file has at most"),
        (rows(1, "'=1+1"), "arch must be a cell such as"),
        (rows(1).replace("\n0,", "\n1e300,"), "index"),
        ("\0" * 1000, "no readable csv file|lacks the column"),
        ("a" * 1000 + ",b" * 50_000, "its first line, the names of the columns, has more than 65,536 bytes"),
    ],
    ids=["rows", "bytes", "formula", "large", "binary", "very many columns"],
)
def test_a_table_with_wrong_or_huge_content_is_refused(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(ValueError, match=why) as said:
        NASBench201Table(tmp_path / "table.csv")
    assert len(str(said.value)) < 1500


def test_a_parquet_table_that_grows_or_has_too_many_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    numbers = {name: [1.0] * 200 for name in COLUMNS if name != "arch"}
    table = pyarrow.table({**numbers, "arch": repeated("a" * 2**20, 200)})
    parquet.write_table(table, path, dictionary_pagesize_limit=2**30, store_schema=False)
    with pytest.raises(ValueError, match="bytes in memory, many times its size"):
        NASBench201Table(path)
    parquet.write_table(pyarrow.table({"a": [0] * (limits.TABLE_ROWS + 1)}), path)
    with pytest.raises(ValueError, match="has 100,001 rows"):
        NASBench201Table(path)
    path.write_bytes(b"PAR1" + b"\0" * 100 + b"PAR1")
    with pytest.raises(ValueError, match="no readable parquet file"):
        NASBench201Table(path)


# --- Genotypes. ---


@pytest.mark.parametrize(
    "text",
    [
        "normal:2:a@0//" * 1_000_000,
        '{"cells": [\n' + "1,\n" * 1_000_000 + "1]}",
        "Genotype(" * 1_000_000,
        "|a~0|+" * 1_000_000,
    ],
    ids=["text", "json", "official", "nasbench201"],
)
def test_a_million_lines_and_deep_json_are_no_genotype(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"A genotype has at most 100000 characters"):
        Genotype.parse(text)
    (tmp_path / "genotype.json").write_text(text)
    with pytest.raises(ValueError, match=r"A genotype has at most 100000 characters"):
        Genotype.parse(str(tmp_path / "genotype.json"))
    for deep in ('{"cells":' + "[" * 90_000, '{"cells":' + "[" * 200 + "]" * 200 + "}"):
        with pytest.raises(ValueError, match=r"nested more than 50 deep|no valid JSON"):
            Genotype.from_json(deep)
