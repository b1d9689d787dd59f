import signal
import time

import pytest
from rich.console import Console

from archselect.utils.errors import stopping_on_signals


class Dying:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0)  # the handler runs here, where Python drops what it raises


def test_a_signal_that_comes_while_an_object_is_deleted_stops_all_the_same() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, stopping_on_signals(Console(quiet=True)):
        Dying()
        time.sleep(5)
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
