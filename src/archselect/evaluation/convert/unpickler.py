"""An unpickler that makes nothing but plain data, and keeps of it only what the table needs.

It is Python's own, in its form in Python: the one in C lets nobody in, and its memo holds every curve to the end.
"""

import pickle
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from archselect.evaluation.convert.source import Source, check_size
from archselect.evaluation.convert.stand_ins import UNREAD, ConversionError, NumberType, StandIn, stand_in

EPOCHS: Final = 200
DATA_SETS: Final = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")
LAST: Final = f"@{EPOCHS - 1}"
SUBSETS: Final = ("x-valid", "x-test", "ori-test")
FIELDS: Final = frozenset(
    (
        *(
            "meta_archs",
            "arch2infos",
            "full",
            "200",
            "arch_str",
            "all_results",
            "dataset_seed",
            "epochs",
            "eval_acc1es",
        ),
        *DATA_SETS,
        *(subset + LAST for subset in SUBSETS),
    )
)
"""The entries of dictionaries that are kept. `full` and `200` are the results of 200 epochs."""

_NAMES: Final = """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE
    SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM
    SETITEMS EMPTY_SET ADDITEMS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE NEWOBJ BUILD
    BINPERSID
"""
_CODES: Final = [getattr(pickle, name)[0] for name in _NAMES.split()]
"""The operations of pickle's protocols 2 to 4 that data of these kinds is written with."""


class Memo(dict[int, Any]):
    """What a pickle may refer back to; what is not read takes no room."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def __setitem__(self, index: int, value: Any) -> None:
        if index >= self._size:
            self._size = index + 1
        if value is not UNREAD:
            super().__setitem__(index, value)

    def __len__(self) -> int:
        return self._size

    def __missing__(self, index: int) -> Any:
        if index < self._size:
            return UNREAD
        raise KeyError(index)


class _Operations(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise ConversionError(f"It uses pickle's operation {bytes([code])!r}, which no file of the benchmark needs.")


class Unpickler(pickle._Unpickler):
    """Loads one pickle."""

    dispatch = _Operations({code: pickle._Unpickler.dispatch[code] for code in _CODES})

    if TYPE_CHECKING:  # what the type stubs leave out
        read: Callable[[int], bytes]
        append: Callable[[Any], None]
        stack: list[Any]
        _unframer: Any

        def pop_mark(self) -> list[Any]: ...

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.memo = Memo()
        self._texts: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> StandIn:
        return stand_in(module, name)

    def persistent_load(self, pid: Any) -> Any:
        raise ConversionError("It holds tensors, such as trained weights: take the file without them.")

    def _load_frame(self) -> None:
        size = check_size(struct.unpack("<Q", self.read(8))[0])
        self._unframer.load_frame(size)

    def _load_short_text(self) -> None:
        self._push_text(self.read(1)[0])

    def _load_text(self) -> None:
        self._push_text(struct.unpack("<I", self.read(4))[0])

    def _push_text(self, length: int) -> None:
        text = str(self.read(check_size(length)), "utf-8")
        _subset, at, epoch = text.rpartition("@")
        if at and epoch != LAST[1:]:  # an earlier point of a curve
            self.append(UNREAD)
        else:
            self.append(self._texts.setdefault(text, text))

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._keep([key, value])

    def _set_items(self) -> None:
        self._keep(self.pop_mark())

    def _keep(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise ConversionError("It sets items of something that is no dictionary.")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if _is_read(key, value):
                target[key] = value

    def _append(self) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _appends(self) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ConversionError("It appends to something that is no list.")
        target.extend(items)

    def _empty_set(self) -> None:
        self.append(UNREAD)

    def _add_items(self) -> None:
        self.pop_mark()

    def _call(self) -> None:
        """Call a stand-in, be it for a function or a class."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not StandIn or type(arguments) is not tuple:
            raise ConversionError("It calls something that is no function.")
        self.append(function.make(*arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is dict and type(state) is dict:  # the fields of an object
            target.update(state)
        elif type(target) is not NumberType or type(state) is not tuple or state[1] != "<":
            raise ConversionError("It gives a state to something that has none, or a number's bytes are not in order.")

    dispatch.update(
        {
            pickle.FRAME[0]: _load_frame,
            pickle.SHORT_BINUNICODE[0]: _load_short_text,
            pickle.BINUNICODE[0]: _load_text,
            pickle.SETITEM[0]: _set_item,
            pickle.SETITEMS[0]: _set_items,
            pickle.APPEND[0]: _append,
            pickle.APPENDS[0]: _appends,
            pickle.EMPTY_SET[0]: _empty_set,
            pickle.ADDITEMS[0]: _add_items,
            pickle.REDUCE[0]: _call,
            pickle.NEWOBJ[0]: _call,
            pickle.BUILD[0]: _build,
        }
    )


def _is_read(key: Any, value: Any) -> bool:
    """Return whether an entry of a dictionary is kept, whatever dictionary it is."""
    if type(key) is str:
        return key in FIELDS
    if type(key) is int:  # the results by architecture; what else has numbers as keys is a curve by epoch
        return type(value) is dict
    return type(key) is tuple and [type(part) for part in key] == [str, int]  # the trials by data set and seed
