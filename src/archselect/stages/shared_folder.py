"""A stage's folder as the processes that work on it together see it."""

from collections.abc import Callable
from typing import Any

from archselect.distributed.process_group import on_main_process
from archselect.store import StageFolder


def _by_main_process(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **named: on_main_process(lambda: method(*arguments, **named))


class SharedFolder(StageFolder):
    """A stage's folder in which the main process reads and writes for all: they must ask at once, and get the same."""

    begin, finish, result = (_by_main_process(of) for of in (StageFolder.begin, StageFolder.finish, StageFolder.result))
    tidy, set_aside = _by_main_process(StageFolder.tidy), _by_main_process(StageFolder.set_aside)
    read_json, read_lines = _by_main_process(StageFolder.read_json), _by_main_process(StageFolder.read_lines)
    write_text, append_line = _by_main_process(StageFolder.write_text), _by_main_process(StageFolder.append_line)
    keep_lines = _by_main_process(StageFolder.keep_lines)
