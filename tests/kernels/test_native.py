"""Python and C mean the same memory."""

import re
from ctypes import Structure, c_double, c_long, sizeof

import pytest
import torch
from tests.kernels.plain_comparison import batch

from archselect.kernels.cpu import build, native

KINDS = {"long": c_long, "double": c_double}


def declared(structure):
    """Return names and kinds of the fields of a structure in the header, None for a pointer."""
    header = re.sub(r"/\*.*?\*/", "", (build.FOLDER / "arguments.h").read_text(), flags=re.DOTALL)
    body = re.search(rf"typedef struct {{([^}}]*)}} {structure.__name__};", header)[1]
    statements = [statement.split() for statement in body.split(";") if statement.strip()]
    return [
        (word.strip("*,"), KINDS.get(first))
        for first, *words in statements
        for word in words
        if "real" not in word and word != "*const"
    ]


@pytest.mark.parametrize("structure", native.STRUCTURES)
def test_a_structure_has_the_fields_of_the_header_in_their_order(structure):
    ours = [(name, kind if kind in KINDS.values() else None) for name, kind in structure._fields_]
    assert ours == declared(structure)
    assert all(sizeof(kind) == 8 for _, kind in structure._fields_)


def test_a_structure_of_another_size_than_in_c_is_not_handed_over(monkeypatch):
    class Shape(Structure):
        _fields_ = native.Shape._fields_[:-1]

    native._library.cache_clear()
    monkeypatch.setattr(native, "STRUCTURES", (Shape, *native.STRUCTURES[1:]))
    with pytest.raises(RuntimeError, match=r"structures of \[48, 24, .* native.py of \[40, 24"):
        native.NativeLoops((1, 4, 2, 2), torch.float64, 1, batch(), 1, 4)
