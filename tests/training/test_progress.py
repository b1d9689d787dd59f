from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from archselect.training.progress import Progress, ProgressCallback, warn


@pytest.fixture
def clock() -> list[float]:
    """The time of a console, which stands until the test moves it."""
    return [1000.0]


def console(output: StringIO, clock: list[float]) -> Console:
    return Console(file=output, width=100, get_time=lambda: clock[0])


def test_without_a_terminal_it_says_a_line_every_ten_seconds_with_the_time_left(clock: list[float]) -> None:
    output = StringIO()
    with Progress(console(output, clock), "search") as progress:
        progress.start(total=10, completed=0)
        progress.say("epoch 1/5")
        for _ in range(4):
            clock[0] += 5
            progress.advance()
            progress.say("epoch 2/5")
    assert output.getvalue().splitlines() == [
        "search       0 %  epoch 1/5",
        "search      30 %  35 s left  epoch 2/5",
    ]


def test_what_an_earlier_session_made_does_not_count_for_the_time_left(clock: list[float]) -> None:
    output = StringIO()
    progress = Progress(console(output, clock), "search")
    progress.start(total=100, completed=90)
    clock[0] += 60
    progress.advance()
    progress.say("epoch 10/10")
    # One step took a minute, nine are left.
    assert output.getvalue() == "search      91 %  9 min left  epoch 10/10\n"


@pytest.mark.parametrize(
    ("task", "value", "words"),
    [
        (("accuracy", "max"), 0.5, "epoch 2/3, validation accuracy 50.0 %"),
        (("mean_absolute_error", "min"), 12.5, "epoch 2/3, validation mean absolute error 12.50"),
    ],
)
def test_it_tells_the_validation_metric_of_the_epoch_before(task: tuple[str, str], value: float, words: str) -> None:
    said: list[str] = []
    progress: Any = SimpleNamespace(say=said.append)
    trained: Any = SimpleNamespace(task=SimpleNamespace(metric=task[0], mode=task[1]))
    metrics = {f"val_{task[0]}": torch.tensor(value), "val_loss": torch.tensor(9.0)}
    trainer: Any = SimpleNamespace(current_epoch=1, max_epochs=3, callback_metrics=metrics)
    ProgressCallback(progress).on_train_epoch_start(trainer, trained)
    assert said == [words]


@pytest.mark.parametrize(
    ("is_terminal", "lines"),
    [
        (True, ["data       warning: one of many", "           words that do not fit", "           in."]),
        (False, ["data       warning: one of many words that do not fit in."]),
    ],
)
def test_a_terminal_wraps_words_below_each_other_and_a_file_has_a_line(is_terminal: bool, lines: list[str]) -> None:
    output = StringIO()
    narrow = Console(file=output, width=32, force_terminal=is_terminal, color_system=None)
    warn(narrow, "data", "one of many words that do not fit in")
    assert [line.rstrip() for line in output.getvalue().splitlines()] == lines
