"""A stage's folder as the processes that work on it together see it."""

from collections.abc import Callable
from typing import Any

from archselect.distributed.process_group import on_main_process
from archselect.store import StageFolder


def _by_main_process(method: str) -> Callable[..., Any]:
    def call(folder: StageFolder, *arguments: Any, **named: Any) -> Any:
        return on_main_process(lambda: getattr(StageFolder, method)(folder, *arguments, **named))

    return call


class SharedFolder(StageFolder):
    """A stage's folder in which the main process reads and writes for all: they must ask at once, and get the same."""

    begin, finish, result = (_by_main_process(name) for name in ("begin", "finish", "result"))
    tidy, set_aside = _by_main_process("tidy"), _by_main_process("set_aside")
    read_json, read_lines = _by_main_process("read_json"), _by_main_process("read_lines")
    write_text, append_line = _by_main_process("write_text"), _by_main_process("append_line")
    keep_lines = _by_main_process("keep_lines")
