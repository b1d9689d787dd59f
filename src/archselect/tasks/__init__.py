"""What networks are trained for: the targets of images, the loss and the metrics on them."""

from archselect.tasks.base import Task
from archselect.tasks.classification import Classification
from archselect.tasks.multilabel import Multilabel
from archselect.tasks.regression import Regression

__all__ = ["Classification", "Multilabel", "Regression", "Task"]
