"""A pickle that names anything else is refused with that name, runs nothing, and cannot fill the memory or the disk."""

import builtins
import bz2
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.evaluation.convert.layouts import ARCHS, accuracies, trained, write_nats_simple, write_pickle

from archselect.evaluation.convert import stand_ins
from archselect.evaluation.convert.command import main


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    out = path.parent / "table.csv"
    assert main([str(path), "--out", str(out), "--incomplete"]) == 1
    assert not out.exists()
    return " ".join(capsys.readouterr().err.split())


class Calls:
    """What a pickle calls when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("where", ["torch", "old torch", "nats", "plain"])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {canary}",), "posix.system"),
        (builtins.eval, ("open('{canary}', 'w')",), "eval"),
        (getattr, (os, "system"), "getattr"),
        (builtins.open, ("{canary}", "w"), "io.open"),
        (torch._utils._rebuild_tensor_v2, (), "torch._utils._rebuild_tensor_v2"),
    ],
    ids=["os.system", "eval", "getattr", "open", "tensor"],
)
def test_another_global_is_refused_by_its_name_and_nothing_runs(
    where: str,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "hostile.pth"
    if function is getattr:
        arguments = ("", "system")
    called = Calls(function, *(one.format(canary=canary) for one in arguments))
    content = {"meta_archs": list(ARCHS), "arch2infos": {0: called}}
    if where == "nats":
        write_pickle(path, content)
    elif where == "plain":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=where == "torch")
    words = refused(path, capsys)
    assert "It names the global" in words and f"{name}," in words and "nothing of it was run" in words
    assert ("It holds tensors" in words) == (name[:5] == "torch")
    assert not canary.exists()


def test_a_hostile_file_among_good_ones_stops_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_nats_simple(tmp_path, ARCHS, {0: trained(0, ARCHS[0], accuracies(1, 50.0))})
    write_pickle(path / "000001.pickle.pbz2", Calls(os.system, f"touch {tmp_path / 'canary'}"))
    words = refused(path, capsys)
    assert "000001.pickle.pbz2" in words and "posix.system" in words
    assert not (tmp_path / "canary").exists()


TEXT = pickle.BINUNICODE + struct.pack("<I", 1) + b"x"
DICTIONARY = b"ccollections\nOrderedDict\n"


@pytest.mark.parametrize(
    ("operations", "sentence"),
    [
        (TEXT + b")R", "calls something that is no function"),
        (DICTIONARY + b"}b", "gives a state to something that has none"),
        (DICTIONARY + TEXT + b"\x85R", "is damaged"),
        (DICTIONARY + TEXT + b"s", "is damaged"),
        (DICTIONARY + TEXT + TEXT + b"s", "no dictionary"),
        (DICTIONARY + TEXT + b"a", "no list"),
        (b"(ios\nsystem\n", "operation b'i'"),
        (b"(cos\nsystem\no", "names the global os.system"),
        (b"\x82\x01", r"operation b'\x82'"),
        (b"S'text'\n", "operation b'S'"),
        (b"c" + b"m" * 5000 + b"\nname\n", "names the global"),
        (TEXT + b"Q", "holds tensors"),
        (b"h\x07", "Memo value not found"),
        (b"c_codecs\nencode\n" + TEXT + b"X\x06\x00\x00\x00base64\x86R", "encodes text as 'base64'"),
        (b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R", "numpy's type 'O8'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operations_out_of_place_do_nothing(
    operations: bytes, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "crafted.pth"
    path.write_bytes(pickle.PROTO + b"\x02" + operations + pickle.STOP)
    assert sentence in refused(path, capsys)


def test_all_that_may_be_named_is_ours() -> None:
    for one in stand_ins.GLOBALS.values():
        assert one.make.__module__ == stand_ins.__name__


def test_a_value_of_gigabytes_is_refused_before_it_is_unpacked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bomb.pickle.pbz2"
    path.write_bytes(bz2.compress(pickle.PROTO + b"\x04" + pickle.BINUNICODE + struct.pack("<I", 2**31) + bytes(10**6)))
    assert "holds a value of 2,147,483,648 bytes" in refused(path, capsys)
    path.write_bytes(bz2.compress(pickle.PROTO + b"\x04" + pickle.FRAME + struct.pack("<Q", 2**40) + bytes(10**6)))
    assert "holds a value of 1,099,511,627,776 bytes" in refused(path, capsys)


def test_a_file_that_unpacks_to_more_than_the_benchmark_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many small values, here with a limit that is soon reached."""
    bomb = bz2.compress(pickle.PROTO + b"\x04" + 12 * 10**5 * pickle.NONE)
    assert len(bomb) < 1000
    monkeypatch.setattr("archselect.evaluation.convert.files.MOST_BYTES_OF_ONE", 10**6)
    folder = write_nats_simple(tmp_path, ARCHS, {})
    (folder / "000000.pickle.pbz2").write_bytes(bomb)
    words = refused(folder, capsys)
    assert "000000.pickle.pbz2" in words and "unpacks to more than 1,000,000 bytes" in words
