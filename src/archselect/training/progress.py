"""What is shown while a stage works: one bar with the time left, or a line now and then where there is no terminal."""

import logging
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from archselect.results.metric import Metric
from archselect.tasks import Task
from archselect.utils.console import print_titled

QUIET_SECONDS = 10.0  # where there is no terminal: at least so long between two lines


class Progress:
    """The progress of one stage, named by its title and counted in steps."""

    def __init__(self, console: Console, title: str) -> None:
        self.console, self.title = console, title
        self._last_line = 0.0
        spent = () if console.width < 100 else (TimeElapsedColumn(), "gone,")
        columns = (BarColumn(12 if console.width < 100 else 24), TaskProgressColumn(), *spent)
        columns += (TimeRemainingColumn(compact=True), "left ", "{task.fields[status]}")
        options: dict[str, Any] = {"speed_estimate_period": 120, "disable": not console.is_terminal}
        self._bar = RichProgress("[bold]{task.description:<10}", *columns, console=console, **options)
        self._task = self._bar.add_task(title, total=None, status="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()

    def start(self, total: int, completed: int) -> None:
        """Say how many steps there are and how many an earlier session made."""
        self._bar.update(self._task, total=total, completed=completed)

    def advance(self) -> None:
        self._bar.advance(self._task)

    def say(self, status: str) -> None:
        """Show what is being done."""
        self._bar.update(self._task, status=status)
        now = self.console.get_time()
        if not self.console.is_terminal and now - self._last_line > QUIET_SECONDS:
            self._last_line = now
            task = self._bar.tasks[0]
            done = f"{task.percentage:3.0f} %" if task.total else ""
            seconds = task.time_remaining or 0
            left = f"  {seconds / 60:.0f} min left" if seconds >= 60 else f"  {seconds:.0f} s left" if seconds else ""
            self.console.print(f"{self.title:<10} {done}{left}  {status}", highlight=False)

    def warn(self, words: str) -> None:
        warn(self.console, self.title, words)


def warn(console: Console, title: str, words: str) -> None:
    """Show a warning about a stage, and write it into the run's log."""
    print_titled(console, title, f"[bold]warning[/]: {escape(words)}.")
    logging.getLogger(__name__).warning("%s: %s.", title, words)


class ProgressCallback(Callback):
    """Counts training batches on the stage's bar."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        batches = int(trainer.num_training_batches)
        made = trainer.fit_loop.epoch_loop.batch_progress.current.ready if trainer.fit_loop.restarted_mid_epoch else 0
        self.progress.start(batches * (trainer.max_epochs or 0), completed=batches * trainer.current_epoch + made)
        if made:
            self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Name the epoch, and the validation metric of the one before."""
        task = cast(Task, pl_module.task)
        status, metric = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", Metric(task.metric, task.mode)
        value = trainer.callback_metrics.get(metric.key("val"))
        if value is not None:
            status += f", validation {metric.words} {metric.amount(float(value), digits=1)}"
        self.progress.say(status)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.progress.advance()
