"""A file as the unpickler reads it: in pieces that are counted, and never more than the largest of the benchmark's."""

import io
from collections.abc import Callable
from typing import IO, Any, Final, cast

from archselect.evaluation.convert.stand_ins import ConversionError
from archselect.training.fit import peak_resident

PIECE: Final = 1 << 20
"""How much is read between two looks at what it has led to, in bytes."""

LARGEST: Final = PIECE
"""The largest single value or frame, in bytes. The benchmarks' have up to 128 kB."""

MOST_BYTES: Final = 20 * 10**9
"""The largest file, unpacked. The benchmarks' have about 5 GB."""

MOST_MEMORY: Final = 3 * 10**9
"""The memory that a conversion may take, in bytes, beside what Python and the libraries have taken before it."""

LONGEST_LINE: Final = 1 << 10


class Source:
    """What the unpickler reads from: `read(size)` returns so many bytes, or fewer at the end.

    Args:
        file: Open, at its start.
        most: The size that it may unpack to, in bytes.
        advance: Called after every piece.
    """

    def __init__(self, file: IO[bytes], most: int = MOST_BYTES, advance: Callable[[], None] = lambda: None) -> None:
        self._file = io.BufferedReader(_Counted(file, most, advance), PIECE)
        self.read = self._file.read  # called for every byte or so: without a method of ours in between

    def readline(self) -> bytes:
        """Return a line, which names a global."""
        return self._file.readline(LONGEST_LINE)


class _Counted(io.RawIOBase):
    """Looks at size and memory at every piece."""

    def __init__(self, file: IO[bytes], most: int, advance: Callable[[], None]) -> None:
        super().__init__()
        self._file = cast(Any, file)
        self._most = most
        self._advance = advance
        self._before = peak_resident()
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if peak_resident() - self._before > MOST_MEMORY:
            raise ConversionError(f"It takes more than {MOST_MEMORY:,} bytes of memory, far more than the benchmark.")
        self._advance()
        count: int = self._file.readinto(buffer)
        self._count += count
        if self._count > self._most:
            raise ConversionError(f"It unpacks to more than {self._most:,} bytes, the most that such a file may have.")
        return count


def check_size(size: int) -> int:
    """Return the size of a value.

    Raises:
        ConversionError: No value of the benchmark is so large.
    """
    if size > LARGEST:
        raise ConversionError(f"It holds a value of {size:,} bytes; the benchmark's are small ones.")
    return size
