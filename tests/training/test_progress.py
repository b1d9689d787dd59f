from io import StringIO

import pytest
from rich.console import Console

from archselect.training.progress import Progress


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
