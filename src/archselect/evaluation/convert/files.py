"""The layouts that the benchmarks come in, each opened as its architectures and a walk over their results."""

import bz2
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from archselect.evaluation.convert.source import Source
from archselect.evaluation.convert.stand_ins import ConversionError
from archselect.evaluation.convert.unpickler import Unpickler

ENDING: Final = ".pickle.pbz2"
TORCH: Final = 0x1950A86A20F9469CFC6C
"""The number that the old format of `torch.save` begins with."""

MOST_BYTES_OF_ONE: Final = 64 * 10**6
"""The largest file of one architecture, unpacked. Theirs have 0.3 MB, `meta` has 1.4 MB."""

Advance = Callable[[int, int], None]
"""Told how much is done, of how much."""


@dataclass(frozen=True)
class Benchmark:
    """What a file or folder holds.

    Attributes:
        archs: Every architecture of the benchmark, by its index.
        count: How many of them have results.
        results: Index and results of each of those.
    """

    archs: list[Any]
    count: int
    results: Iterator[tuple[int, Any]]


def open_benchmark(path: Path, advance: Advance) -> Benchmark:
    """Open a benchmark in whichever layout it has.

    Raises:
        ConversionError: It has none of them, ends early, or names or holds what no benchmark does.
        FileNotFoundError: There is nothing.
    """
    if path.is_dir():
        return _folder(path, advance)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file or folder {path}. Name the benchmark's file, or its -simple folder.")
    with path.open("rb") as file, _explained(path):
        content = _content(file, lambda: advance(file.tell(), path.stat().st_size))
    archs, results = _fields(path, content, meta_archs=list, arch2infos=dict)
    return Benchmark(archs, len(results), iter(results.items()))


def _content(file: IO[bytes], advance: Callable[[], None]) -> Any:
    start = file.read(4)
    file.seek(0)
    if start[:3] == b"BZh":
        return Unpickler(Source(bz2.open(file), advance=advance)).load()
    if start == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            data = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(data) != 1:
                raise ConversionError("It is a zip file, but torch.save did not write it: it has no single data.pkl.")
            with archive.open(data[0]) as member:
                return Unpickler(Source(member, advance=advance)).load()
    if start[:1] != pickle.PROTO:
        raise ConversionError("It is no pickle, alone, in bz2 or from torch.save: take the file as it was published.")
    source = Source(file, advance=advance)
    content = Unpickler(source).load()
    if content != TORCH:
        return content
    for _version_then_system in range(2):
        Unpickler(source).load()
    return Unpickler(source).load()


def _folder(path: Path, advance: Advance) -> Benchmark:
    archs = _fields(path, _one(path / f"meta{ENDING}"), meta_archs=list)[0]
    files = sorted(path.glob(f"[0-9]*{ENDING}"))

    def results() -> Iterator[tuple[int, Any]]:
        for number, file in enumerate(files):
            advance(number, len(files))
            index = file.name.removesuffix(ENDING)
            if not index.isdecimal():
                raise ConversionError(f"{file} should be named by the number of an architecture.")
            yield int(index), _one(file)

    return Benchmark(archs, len(files), results())


def _one(path: Path) -> Any:
    if not path.is_file():
        raise ConversionError(f"{path.parent} is no folder of NATS-Bench: it has no {path.name}.")
    with path.open("rb") as file, _explained(path):
        return Unpickler(Source(bz2.open(file), MOST_BYTES_OF_ONE)).load()


def _fields(path: Path, content: Any, **kinds: type) -> list[Any]:
    fields = content if type(content) is dict else {}
    missing = [name for name, kind in kinds.items() if type(fields.get(name)) is not kind]
    if missing:
        raise ConversionError(
            f"{path} holds something else than NAS-Bench-201 or NATS-Bench's topology search space: it has no "
            f"{' and no '.join(missing)}."
        )
    return [fields[name] for name in kinds]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say which file an error is about, and what errors of a damaged file mean."""
    try:
        yield
    except ConversionError as error:
        raise ConversionError(f"{path} is not converted. {error}") from error
    except (EOFError, IndexError, struct.error) as error:  # where bytes are missing
        raise ConversionError(
            f"{path} is not converted: it ends early or is damaged. Fetch it again, whole."
        ) from error
    except (
        *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, OSError, ValueError, TypeError),
        *(AttributeError, KeyError, OverflowError, NotImplementedError, MemoryError),
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not what bz2 says of its data
            raise
        raise ConversionError(
            f"{path} is not converted: it is damaged, or no file of the benchmark ({error}). Fetch it again, whole."
        ) from error
