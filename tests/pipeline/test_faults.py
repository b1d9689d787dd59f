"""What goes wrong outside: full and read-only disks, numbers that are none, images that change, many processes."""

import resource
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console
from tests.command import Apart, Run, lines, tiny, train
from tests.conftest import without_figures
from tests.sameness import same

from archselect.pipeline.finished_run import load_supernet, open_run
from archselect.pipeline.plan import Plan
from archselect.search.module import SearchModule

COMMAND = [*tiny("s2", "darts", "magnitude"), "evaluation=none"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run that nothing happened to."""
    with without_figures():
        return train(*COMMAND, f"logs={tmp_path_factory.mktemp('alone')}")


class Cut(BaseException):
    """A session that ends here."""


def cut_off_after_an_epoch(*overrides: str) -> None:
    original = SearchModule.on_train_epoch_start

    def cut(module: SearchModule) -> None:
        if module.current_epoch == 1:
            raise Cut
        original(module)

    with mock.patch.object(SearchModule, "on_train_epoch_start", cut), pytest.raises(Cut):
        train(*overrides)


def the_search(logs: Path) -> Path:
    (found,) = (path for path in (logs / "stages" / "search").iterdir() if path.is_dir())
    return found


def refused(command: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what a command says that ends with the exit code 1."""
    with pytest.raises(SystemExit) as ended:
        train(*command)
    assert ended.value.code == 1
    return " ".join(capsys.readouterr().err.split())


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_checkpoint_that_cannot_grow_keeps_the_last_good_one_and_the_run_goes_on_later(
    alone: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*COMMAND, f"logs={tmp_path}"]
    cut_off_after_an_epoch(*command)
    checkpoint = the_search(tmp_path) / "checkpoint.ckpt"
    good = checkpoint.read_bytes()
    with files_of_at_most(9 * len(good) // 10):
        message = refused(command, capsys)
    assert "checkpoint.ckpt is larger than files may be here (ulimit -f): raise that limit" in message
    assert "the same command typed again goes on from there" in message
    assert checkpoint.read_bytes() == good
    assert sorted(path.suffix for path in the_search(tmp_path).iterdir() if "partial" in path.name) == []
    same(alone, train(*command))


def test_a_read_only_folder_is_refused_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*COMMAND, f"logs={tmp_path}"]
    cut_off_after_an_epoch(*command)
    mount = ["mount", "--bind", str(tmp_path), str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path)], check=True)
        message = refused(command, capsys)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    assert "is not permitted: change that or name another folder for the results" in message
    assert "set logs=FOLDER" in message


def test_an_alpha_that_is_no_number_ends_the_search_and_names_its_learning_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = SearchModule.on_train_epoch_end

    def spoil(module: SearchModule) -> None:
        original(module)
        if module.current_epoch == 1:
            with torch.no_grad():
                module.supernet.architecture_parameters()[0][0, 0] = torch.inf

    with mock.patch.object(SearchModule, "on_train_epoch_end", spoil):
        message = refused([*COMMAND, f"logs={tmp_path}"], capsys)
    assert "The search diverged: supernet.alphas.normal became inf in epoch 2." in message
    assert "Lower search.architecture_optimizer.lr" in message
    assert [record["epoch"] for record in lines(the_search(tmp_path) / "history.jsonl")] == [0]


def test_a_run_on_own_images_is_opened_in_a_new_python_and_other_images_make_another_search(tmp_path: Path) -> None:
    pictures = sorted(
        tmp_path / "images" / split / label / f"{number}.png"
        for split, count in (("train", 10), ("test", 2))
        for label in ("cat", "dog")
        for number in range(count)
    )
    generator = torch.Generator().manual_seed(0)
    for file in pictures:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(torch.randint(256, (8, 8, 3), generator=generator, dtype=torch.uint8).numpy()).save(file)
    run = train(
        *COMMAND,
        *("data=image_folder", f"data.path={tmp_path / 'images'}", "data.train_subset=null", "data.image_size=8"),
        *("search.batch_size=4", "search.epochs=1", f"logs={tmp_path / 'logs'}"),
    )
    OmegaConf.clear_resolver("archselect.data_name")  # as in a Python that has composed no config
    assert load_supernet(run.folder).cell_spaces.keys() == {"normal", "reduction"}

    def key() -> str:
        finished = open_run(run.folder)
        return Plan(finished.config, finished.parts, finished.job(Console(quiet=True))).search().key.folder_name

    assert key() == run.stage("search").name
    shutil.copyfile(pictures[-1], pictures[0])
    assert key() != run.stage("search").name


@pytest.mark.slow
def test_eight_processes_with_the_same_command_train_one_supernet(alone: Run, tmp_path: Path) -> None:
    steps = "archselect.search.module:SearchModule.training_step"
    command = [*COMMAND, f"logs={tmp_path / 'logs'}"]
    crowd = [Apart(tmp_path / str(number), command, counted=(steps,)) for number in range(8)]
    ended = [one.end(timeout=600) for one in crowd]
    assert [one.code for one in ended] == [0] * 8
    assert sum(one.calls[steps] for one in ended) == 2 * 2
    runs = [Run(path.parent) for path in (tmp_path / "logs").glob("runs/*/*/summary.json")]
    assert len(runs) == 8
    assert len({run.stage("search") for run in runs}) == 1
    assert sorted(run.reused()["search"] for run in runs) == [False] + [True] * 7
    for run in runs:
        same(alone, run)
