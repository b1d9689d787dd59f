"""A stage's folder as the processes that work on it together see it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from archselect.distributed.process_group import on_main_process
from archselect.store import StageFolder


def _by_main_process(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: Any, **named: Any) -> Any:
        return on_main_process(lambda: method(*arguments, **named))

    return call


class SharedFolder(StageFolder):
    """A stage's folder in which the main process reads and writes for all: they must ask at once, and get the same."""

    begin = _by_main_process(StageFolder.begin)
    finish = _by_main_process(StageFolder.finish)
    tidy = _by_main_process(StageFolder.tidy)
    set_aside = _by_main_process(StageFolder.set_aside)
    result = _by_main_process(StageFolder.result)
    write_text = _by_main_process(StageFolder.write_text)
    append_line = _by_main_process(StageFolder.append_line)
    keep_lines = _by_main_process(StageFolder.keep_lines)
    read_lines = _by_main_process(StageFolder.read_lines)
    read_json = _by_main_process(StageFolder.read_json)
