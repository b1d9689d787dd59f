"""What networks are trained for: the targets of images, the loss and the metrics on them."""

from archselect.tasks.base import Mode, Task
from archselect.tasks.classification import Classification

__all__ = ["Classification", "Mode", "Task"]
