"""The processes of a run on several devices: this one, and those that it starts to work with it.

Only stages are worked on together. This process alone knows the command, the store's locks, the terminal and the
loggers; the others (`archselect.follower`) are told the resolved config of the job, so that every job of a sweep has
processes of its own, and then one stage after the other.

What they are told goes through a pipe that ends with this process, however it ends, and they end with the pipe.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from archselect import ranks
from archselect.follower import Start, order_of
from archselect.ranks import Share
from archselect.stages.devices import count_of, devices_of, synchronised
from archselect.stages.fitting import TrainerFactory
from archselect.stages.job import Stage

GRACE = 20.0
"""So many seconds after another process has ended, this one ends too, if it has not noticed itself: on GPUs, a process
that waits for one that is gone waits for ever."""


class FollowerError(ValueError):
    """One of the other processes ended before its work was done."""


class ProcessTeam:
    """Starts the other processes when there is a stage to work on, and ends them.

    Args:
        config: Of the job, resolved.
        trainer: Names the devices.
        folder: Of the run: what the others write to their terminal goes to `device-N.log` in it.
    """

    def __init__(self, config: Mapping[str, Any], trainer: TrainerFactory, folder: Path) -> None:
        self.config, self.trainer, self.folder = config, trainer, folder
        self.count = count_of(trainer)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads = torch.get_num_threads()
        self._working = False

    @contextmanager
    def at(self, stage: Stage) -> Iterator[None]:
        """See `Team`.

        Raises:
            FollowerError: Another process ended early.
        """
        self._working = True
        try:
            if not self._processes:
                self._start()
            for process in self._processes:
                self._send(process, order_of(stage))
            yield
        except Exception as error:
            # What is the user's to mend, all processes meet; one that is gone, this one meets as an error of its own.
            failed = None if isinstance(error, ValueError) else self._failed(wait=2.0)
            self.end(kill=True)
            if failed is not None:
                raise FollowerError(failed) from error
            raise
        except BaseException:
            self.end(kill=True)
            raise
        finally:
            self._working = False

    def end(self, kill: bool = False) -> None:
        """Let the other processes end, and be one process again."""
        if not self._processes:
            return
        processes, self._processes = self._processes, []
        for process in processes:
            pipe = cast(BinaryIO, process.stdin)
            try:
                if not kill:
                    pipe.write(b'{"kind": "end"}\n')
                pipe.close()
            except BrokenPipeError:
                pass  # it is gone
        ranks.leave()
        torch.set_num_threads(self._threads)
        for process in processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self) -> None:
        store = ranks.meeting(self.count)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        device = devices_of(self.trainer)[0]
        if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, self._threads // self.count))
            environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        for rank in range(1, self.count):
            start: Start = {"config": self.config, "rank": rank, "count": self.count, "port": store.port}
            with self._log(rank).open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "archselect.follower"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C in the terminal is for this process to answer
                )
            self._processes.append(process)
            self._send(process, start)
        threading.Thread(target=self._watch, args=(list(self._processes),), daemon=True).start()
        ranks.join(store, Share(0, self.count), device, synchronised(self.trainer))

    @staticmethod
    def _send(process: "subprocess.Popen[bytes]", message: Mapping[str, Any]) -> None:
        pipe = cast(BinaryIO, process.stdin)
        pipe.write(json.dumps(message).encode() + b"\n")
        pipe.flush()

    def _failed(self, wait: float) -> str | None:
        """Return which of the others has failed and what it said; waits a moment for one that is about to end."""
        until = time.monotonic() + wait
        while True:
            for rank, process in enumerate(self._processes, start=1):
                if process.poll():
                    lines = self._log(rank).read_text(errors="replace").strip().splitlines() or ["nothing"]
                    return (
                        f"Process {rank + 1} of {self.count} ended early (exit code {process.returncode}). Its last "
                        f"words, of {self._log(rank)}: {lines[-1]}"
                    )
            if time.monotonic() > until:
                return None
            time.sleep(0.05)

    def _watch(self, processes: list["subprocess.Popen[bytes]"]) -> None:
        """End this process if it waits for one that is gone."""
        while processes == self._processes:
            time.sleep(1)
            if self._working and (failed := self._failed(wait=0)) is not None:
                time.sleep(GRACE)
                if processes == self._processes and self._working:
                    sys.stderr.write(f"\nError: {failed}\n")
                    sys.stderr.flush()
                    os._exit(1)
                return

    def _log(self, rank: int) -> Path:
        return self.folder / f"device-{rank}.log"
