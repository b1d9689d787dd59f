"""The paper's numbers, to stand beside one's own; the content is in `paper.yaml`."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml


@dataclass(frozen=True)
class PaperNumber:
    """A test accuracy that the paper reports, in percent.

    Attributes:
        accuracy: The number itself.
        std: Standard deviation over the seeds, where the paper has it.
        best: The best seed, where the paper has it beside the mean.
        of: What the number is, e.g. "mean of 4 seeds" or "best of 4 seeds".
    """

    accuracy: float
    std: float | None
    best: float | None
    of: str

    def __str__(self) -> str:
        spread = "" if self.std is None else f" ± {self.std:.2f}"
        best = "" if self.best is None else f", best {self.best:.2f}"
        return f"{self.accuracy:.2f}{spread} ({self.of}{best})"


def paper_number(search_space: str, search: str, selection: str, evaluation: str, data: str) -> PaperNumber | None:
    """Return what the paper reports for these choices under its full protocol, or `None`.

    Args:
        search_space: As the others, the name of a file under `configs/`.
        search: How the supernet was trained.
        selection: How the architecture was read off it.
        evaluation: The retraining recipe, or "table" for a look-up in NAS-Bench-201.
        data: What the architecture was tested on.
    """
    return _numbers().get((search_space, search, selection, evaluation, data))


@cache
def _numbers() -> dict[tuple[str, str, str, str, str], PaperNumber]:
    blocks = yaml.safe_load(files("archselect.reporting").joinpath("paper.yaml").read_text(encoding="utf-8"))
    numbers = {}
    for block in blocks:
        errors = "error" in block
        for choices, value in block["error" if errors else "accuracy"].items():
            search, selection = choices.split("+")
            mean, std, best = [*(value if isinstance(value, list) else [value]), None, None][:3]
            numbers[block["search_space"], search, selection, block["evaluation"], block["data"]] = PaperNumber(
                accuracy=_accuracy(mean, errors),
                std=std,
                best=None if best is None else _accuracy(best, errors),
                of=block["of"],
            )
    return numbers


def _accuracy(value: float, is_error: bool) -> float:
    return round(100 - value, 2) if is_error else value
