"""What a user gets wrong ends in a sentence, before any work, and nothing computed is lost.

What is refused before a run begins is asked of the checks themselves (`refusal`); a few commands then show that these
come first, and what happens on the disk and in training is shown by whole runs.
"""

import copy
import errno
import itertools
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from tests.command import CONFIGS, TRAIN, lines, sweep, tiny, train
from tests.data.small_sets import encoded, picture, write_image, write_parquet

from archselect.evaluation.nasbench201 import COLUMNS
from archselect.pipeline.command_line import register_resolvers
from archselect.pipeline.config import as_user_error, instantiate_parts
from archselect.pipeline.preflight import check, check_data
from archselect.search import SearchModule
from archselect.utils.errors import UserError, in_a_sentence

TINY = tuple(tiny())


@cache
def composed(base: tuple[str, ...]) -> DictConfig:
    """Return the config of a command; composing takes half a second."""
    register_resolvers()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides=list(base))


def check_command(*options: str, base: tuple[str, ...] = TINY) -> None:
    """Check all that is checked before a run begins: `base` is composed, `options` are put into what came of it."""
    config = copy.deepcopy(composed(base))
    for one in OverridesParser.create().parse_overrides(list(options)):
        OmegaConf.update(config, one.key_or_group, one.value())
    with as_user_error():
        parts = instantiate_parts(config)
        check(parts)
        check_data(parts)


def refusal(*options: str, base: tuple[str, ...] = TINY) -> str:
    """Return what is said of a command that must be refused."""
    with pytest.raises(UserError) as refused:
        check_command(*options, base=base)
    return str(refused.value)


def said(stderr: str) -> str:
    """Return the sentences after `Error: `."""
    assert "Traceback" not in stderr
    _, _, sentences = stderr.partition("\nError: ")
    sentences, hint, _ = sentences.partition("\n(HYDRA_FULL_ERROR=1 shows the traceback.)\n")
    assert sentences and hint, f"no error is shown:\n{stderr}"
    return sentences


def failed(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    with pytest.raises(SystemExit) as ended:
        train(*overrides)
    assert ended.value.code == 1
    return said(capsys.readouterr().err)


def assert_says(message: str, expected: str) -> None:
    """Check that a message has all parts of what is expected, which are separated by ` ... `."""
    missing = [part for part in expected.split(" ... ") if part not in message]
    assert not missing, f"{missing} not in: {message}"


def each(*cases: tuple[str, ...]) -> pytest.MarkDecorator:
    """Parametrise by (options, parts of the message), or (options, others beside them, parts of the message)."""
    rows = [(case[:-1], case[-1]) for case in cases]
    return pytest.mark.parametrize(("options", "expected"), rows, ids=[" ".join(options) for options, _ in rows])


# --- Names of options and choices. ---


@each(
    ("search.epoch=3", "There is no option search.epoch. Did you mean epochs? ... The options of search are"),
    ("serch=darts", "There is no option serch. Did you mean search"),
    ("trainer.strategy=ddp", "There is no option trainer.strategy ... are accelerator, devices, sync_"),
    ("epochs=3", "There is no option epochs. Did you mean ... search.epochs"),
    ("search_space=s5", "There is no search_space=s5. ... nasbench201 ... s4"),
    ("search.epochs=[1", "no viable alternative at input '[1' ... put it into quotes: 'search.epochs="),
    ("logs/runs", "logs/runs cannot be read: what is typed behind the command is OPTION=VALUE."),
    ("search.epochs=1,2", "search.epochs=1,2 gives several values. Add -m ... type 'search.epochs=[1,2]'"),
)
def test_a_name_that_does_not_exist_is_refused(options: tuple[str, ...], expected: str) -> None:
    with pytest.raises(Exception) as refused:
        composed((*TINY, *options))
    message = in_a_sentence(refused.value, composing=True)
    assert message is not None
    assert_says(message, expected)
    assert "logs=FOLDER" not in message
    assert len(message.splitlines()) == len(set(message.splitlines()))


def test_an_option_that_is_added_or_refers_to_nothing_is_refused() -> None:
    added = refusal(base=(*TINY, "+search.epoch=3"))
    assert_says(
        added,
        "search:  ... unexpected keyword argument 'epoch' ... options ... stand in configs/search/",
    )
    assert_says(refusal("search.epochs=${nowhere}"), "Interpolation key 'nowhere' not found")


# --- Values: one of each kind of check; `test_every_option.py` tries every option. ---

FINITE = "must be a finite number, 0 or more; got"
PAIR = "[skip_connect,sep_conv_3x3]"
NODE = "skip_connect@0+sep_conv_3x3@1"
CELLS = "//".join(f"{cell}:2:{'/'.join([NODE] * 4)}" for cell in ("normal", "reduction"))
THREE = "trainer.devices=3"
EMPTY = "leaves one part empty ... Use more images or another share"


@each(
    ("search.epochs=0", "search.epochs must be a whole number above 0; got 0"),
    ("seed=abc", "seed must be a whole number, 0 or more; got 'abc'"),
    ("search.weight_optimizer.lr=-1", "search.weight_optimizer ... learning rate: -1 ... change"),
    ("search.weight_optimizer.lr=null", "weight_optimizer.lr must be a finite number; got None"),
    ("evaluation.optimizer.lr=nan", "evaluation.optimizer.lr must be a finite number; got nan"),
    ("selection.tuning.learning_rate=inf", f"tuning.learning_rate {FINITE} inf"),
    ("search.architecture_optimizer.betas=0.5", "search.architecture_optimizer ... betas=0.5 ... change"),
    ("search.gradient_clip=0", "search.gradient_clip must be a finite number above 0; got 0"),
    ("evaluation.capture=cuda_graphs", "capture=cuda_graphs needs a CUDA device ... Use evaluation.capture=none"),
    ("evaluation.cutout=16", "cutout of 16 pixels is larger than the images, 8 x 8 ... smaller"),
    ("evaluation.auxiliary_weight=yes", f"evaluation.auxiliary_weight {FINITE} 'yes'"),
    (
        "evaluation.network.layers=0",
        "evaluation.network:  ... layers of a network must be a whole number",
    ),
    ("search_space.channels=5", "search_space.channels must be even ... got 5"),
    ("search.architecture_gradient=foo", "search.architecture_gradient must name a class ... got 'foo'"),
    ("selection.operation_criterion=f1", "operation_criterion must be one of metric, loss; got 'f1'"),
    ("selection.renormalize=maybe", "selection.renormalize must be true or false; got 'maybe'"),
    ("selection.tuning.epochs_between=true", "epochs_between must be a whole number, 0 or more; got True"),
    ("data.mean=abc", "a list of numbers in data.mean ... got 'abc'"),
    ("name=../x", "name must be the name of a folder; got '../x'"),
    ("figures.format=[pdf,eps]", "figures.format must be one of png, svg, pdf ... ['pdf', 'eps']"),
    # Search spaces and orders.
    ("search_space.operations=[skip_conect,sep_conv_3x3]", "'skip_conect' does not exist ... Did you mean 'skip_conn"),
    ("search_space.operations=[]", "normal cell has an empty list ... List at least one"),
    (f"search_space.operations=[{','.join([PAIR] * 13)},[]]", "Edge (4, 5) of the normal cell has no candidate"),
    (f"search_space.operations=[{','.join([PAIR] * 13)}]", "14 edges ... 13 were given ... in the order [(0, 2)"),
    ("search_space.operations=5", "must be a list of names or one list per edge; got 5"),
    ("search_space.operations=[skip_connect]", "selection=perturb compares ... has one only ... two candidates"),
    ("selection.edge_order=[0,1,2]", "global or, for the normal cell ... each of [0, 1, 2, 3 ... got [0, 1, 2]"),
    ("selection.edge_order=sorted", "selection.edge_order must be random ... got 'sorted'"),
    ("selection.edge_order={cell:[0,1,2,3,4,5]}", "edge_order names ... ['cell'] ... has ['normal', 'reduction']"),
    ("selection.node_order=[2,3,4,5]", "each of [3, 4, 5] once; got [2, 3, 4, 5]"),
    # Genotypes; `tests/genotype` has what may be wrong with one by itself.
    ("genotype=DARTS_V2", "among ['skip_connect', 'sep_conv_3x3'] ... has 'dil_conv_3x3' ... search_space="),
    ("genotype='|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'", "['normal', 'reduction'] ... has ['cell']"),
    (f"genotype={CELLS.replace(f'{NODE}/', '', 1)}", "4 nodes, but the genotype's has 2 and 3 ... incomplete"),
    ("genotype=DARTS_V9", "'DARTS_V9' is no genotype ... Did you mean DARTS_V ... Accepted are ... .json file"),
    ("genotype=nowhere/genotype.json", "'nowhere/genotype.json', but there is no such file ... genotype.json"),
    # Splits and batches.
    ("search.batch_size=61", "search.batch_size is 61, but only 60 images ... Lower it"),
    ("search.weight_share=0.8", "search.batch_size is 30, but only 24 images train alpha ... Lower it"),
    ("evaluation.batch_size=109", "evaluation.batch_size is 109, but only 108 images are trained on ... Lower it"),
    ("selection.scoring.batch_size=61", "scoring.batch_size is 61, but only 60 images are scored on ... Lower it"),
    ("search.weight_share=0.0001", f"search.weight_share: Splitting 120 images ... {EMPTY}"),
    ("search.weight_share=1", "search.weight_share must lie between 0 and 1; got 1"),
    ("selection.scoring.held_out_share=0.0001", f"selection.scoring.held_out_share: Splitting 60 images ... {EMPTY}"),
    ("evaluation.validation_share=0.0001", f"evaluation.validation_share: Splitting 120 ... {EMPTY}"),
    ("data.train_subset=5000", "subset of 5000 ... from 1438 ... Ask for fewer"),
    # Trainers and what three devices cannot share.
    ("trainer.precision=16-mixed", "trainer.precision must be one of 32-true, bf16-mixed; got '16-mixed'"),
    ("trainer.devices=0", "devices=0 ... trainer.devices=1"),
    ("trainer.accelerator=abacus", "invalid accelerator name ... 'abacus' ... trainer=cpu"),
    (THREE, "search.capture=compile", "search.capture=compile records a step of one process ... trainer.devices=1"),
    (THREE, "search.batch_size=29", "search.batch_size=29: of the 60 images ... the last batch has 2 ... at least 3"),
    (THREE, "search.batch_size=2", "search.batch_size=2 ... a batch has 2 ... at least 3"),
    # Each device normalises by itself, and needs two images for a spread.
    (
        THREE,
        "search.batch_size=5",
        "trainer.sync_batchnorm=false",
        "a batch has 5 ... at least 6",
    ),
    (THREE, "evaluation.batch_size=53", "evaluation.batch_size=53: of the 108 images ... the last batch has 2"),
)
def test_a_value_that_makes_no_sense_is_refused(options: tuple[str, ...], expected: str) -> None:
    assert_says(refusal(*options), expected)


def test_a_genotype_file_with_a_cycle_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cycle.json"
    file.write_text('{"cells": [{"name": "normal", "inputs": 2, "nodes": [[["skip_connect", 2]]]}]}')
    assert_says(refusal(f"genotype={file}"), f"{str(file)!r} holds no genotype ... so that there is no cycle; got 2")


# --- Data. ---

SMALL = ("data.train_subset=null", "search.batch_size=4", "evaluation.batch_size=4", "evaluation.validation_share=0")
FOLDER = (*TINY, "data=image_folder", *SMALL)
CIFAR10 = (*TINY, "data=cifar10", *SMALL)


def class_folders(root: Path, size: int = 8, damaged: str | None = None) -> str:
    """Write two classes of four images; return the option that reads them."""
    for split, name, number in itertools.product(("train", "test"), ("ant", "bee"), range(4)):
        write_image(root / split / name / f"{number}.png", picture(40 * number, size))
    if damaged is not None:
        (root / damaged).write_bytes((root / damaged).read_bytes()[:60])
    return f"data.path={root}"


def tables(root: Path, label_column: str = "label", damaged: bool = False) -> str:
    """Write parquet files of 20 images, row 7 of which may be damaged; return the option that reads them."""
    images = [b"no image" if damaged and row == 7 else encoded(picture(row, 32)) for row in range(20)]
    for split in ("train", "test"):
        write_parquet(root / f"{split}.parquet", [row % 10 for row in range(20)], images, label_column)
    return f"data.path={root}"


@pytest.mark.parametrize(("size", "option"), [(4, None), (6, None), (8, 6)])
def test_images_too_small_to_be_halved_twice_are_refused(size: int, option: int | None, tmp_path: Path) -> None:
    options = [class_folders(tmp_path, size), *([] if option is None else [f"data.image_size={option}"])]
    found = option or size
    expected = f"a multiple of 4 and at least 8 pixels ... got {found}x{found} ... data.image_size"
    assert_says(refusal(*options, base=FOLDER), expected)


def test_a_missing_or_empty_path_and_one_class_alone_are_refused(tmp_path: Path) -> None:
    for base in (FOLDER, CIFAR10):
        for path in (tmp_path / "nowhere", tmp_path):
            message = refusal(f"data.path={path}", base=base)
            assert_says(message, f"data.path ... {path} ... xpected ... train/CLASS/IMAGE.png")
    assert_says(refusal(base=FOLDER), "data.path=FOLDER ... train/CLASS/IMAGE.png")
    option = class_folders(tmp_path)
    for split in ("train", "test"):
        (tmp_path / split / "bee").rename(tmp_path / split / "ant" / "below")
    expected = "All 8 training images ... are of one class, 'ant' ... two classes or more ... a folder per class"
    assert_says(refusal(option, base=FOLDER), expected)


def test_another_set_or_a_table_without_labels_under_the_name_of_cifar10_is_refused(tmp_path: Path) -> None:
    other = refusal(tables(tmp_path), "data.source.image_column=photo", base=CIFAR10)
    assert_says(other, "data.source.image_column is 'photo' ... data=huggingface data.path=FOLDER ... published=null")
    unlabelled = refusal(tables(tmp_path, "species"), base=CIFAR10)
    assert_says(unlabelled, "a column 'label' ... train.parquet ... found img, species ... data.source.label_column=")


def test_a_damaged_image_is_named_by_its_file_or_row(tmp_path: Path) -> None:
    message = refusal(class_folders(tmp_path / "folders", damaged="train/bee/3.png"), base=FOLDER)
    assert_says(message, f"{tmp_path}/folders/train/bee/3.png is an image that cannot be decoded ... Replace or remove")
    message = refusal(tables(tmp_path, damaged=True), base=CIFAR10)
    assert_says(message, f"row 7 of {tmp_path}/train.parquet is not an image ... format is not known ... Replace")


def test_a_damaged_test_image_is_named_before_the_retraining(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    option = class_folders(tmp_path / "set", damaged="test/bee/3.png")
    check_command(option, base=FOLDER)  # not before the search, which never opens a test image
    message = failed(capsys, *FOLDER, option, f"genotype={CELLS}", f"logs={tmp_path}/logs")
    assert_says(message, "set/test/bee/3.png is an image ... Replace or remove it")
    assert not list((tmp_path / "logs").glob("stages/evaluation/*/history.jsonl")), "an epoch was made"


# --- Evaluations that do not suit the space. ---

ARCH = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
LOOKED_UP = ("experiment=nasbench201_small", "data=digits", "data.train_subset=120", "trainer=cpu")


def test_a_table_has_to_be_there_and_to_have_what_may_be_looked_up(tmp_path: Path) -> None:
    table, other = tmp_path / "table.csv", ARCH.replace("none~2", "skip_connect~2")
    option = f"evaluation.table={table}"
    assert_says(refusal(option, base=LOOKED_UP), f"no NAS-Bench-201 table at {table} ... Set evaluation.table")
    table.write_text(",".join(COLUMNS) + f"\n0,{ARCH},10,10,1,1,1,1\n")
    message = refusal(option, base=LOOKED_UP)
    assert_says(message, f"{table} has 1 architectures, and {other} ... not among them ... evaluation.table=null")
    message = refusal(option, f"genotype='{other}'", base=LOOKED_UP)
    assert_says(message, f"{other} is not among them ... evaluation.table=null")
    check_command(option, f"genotype='{ARCH}'", base=LOOKED_UP)
    message = refusal(option, base=("search_space=s2", "data=digits", "evaluation=nasbench201"))
    assert_says(message, "looks up NAS-Bench-201 cells ... space is 's2' ... Choose search_space=nasbench201")


@pytest.mark.parametrize(("space", "evaluation"), [("nasbench201", "retrain_cifar10"), ("s2", "retrain_nasbench201")])
def test_an_evaluation_for_another_space_is_refused(space: str, evaluation: str) -> None:
    message = refusal(
        "evaluation.cutout=0", base=(f"search_space={space}", "data=digits", f"evaluation={evaluation}", "trainer=cpu")
    )
    assert_says(message, f"evaluation={evaluation} does not fit search space {space!r} ... channels ... Choose another")


# --- Where it runs. ---


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    message = refusal(base=(*TINY, "trainer=gpu"))
    assert_says(message, "accelerator=gpu ... No supported gpu backend found ... trainer=cpu")


def test_what_the_stages_say_of_the_trainer_is_not_for_a_user_to_set() -> None:
    for option, value in {"strategy": "fsdp", "num_nodes": 2, "max_epochs": 2, "limit_train_batches": 1}.items():
        message = refusal(base=(*TINY, f"+trainer.{option}={value}"))
        assert_says(message, f"trainer.{option} is not for a user to set ... accelerator, devices")


# --- The command itself. ---


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("search.epoch=3", "There is no option search.epoch."),
        ("search.epochs=0", "search.epochs must be a whole number above 0; got 0."),
        ("evaluation.cutout=16", "A cutout of 16 pixels is larger than the images"),
        ("search.batch_size=61", "search.batch_size is 61, but only 60 images"),
    ],
    ids=["composing", "parts", "together", "data"],
)
def test_a_command_is_refused_before_any_stage_begins(
    option: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert failed(capsys, *TINY, option, f"logs={tmp_path}").startswith(expected)
    assert not (tmp_path / "stages").exists()


def test_targets_of_another_task_are_refused_before_the_plan_is_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        train(*TINY, "task=regression", f"logs={tmp_path}")
    shown = capsys.readouterr()
    assert said(shown.err).startswith("task=regression expects numbers as targets, but data=digits has a class")
    assert "stage" not in shown.out


def test_processes_are_not_started_for_what_one_can_refuse(capsys: pytest.CaptureFixture[str], own_logs: str) -> None:
    with mock.patch("archselect.pipeline.run.start_processes") as start:
        failed(capsys, *TINY, "trainer.devices=3", "search.capture=compile", own_logs)
    start.assert_not_called()


def test_the_traceback_is_there_for_those_who_ask(own_logs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError, match=r"^search\.epochs must be a whole number above 0; got 0\.$"):
        train(*TINY, "search.epochs=0", own_logs)


@pytest.mark.slow
def test_what_three_processes_refuse_is_said_once_and_ends_with_code_1(tmp_path: Path) -> None:
    typed = [*TINY, "trainer.devices=3", "search.batch_size=29", f"logs={tmp_path / 'logs'}"]
    ended = subprocess.run([sys.executable, str(TRAIN), *typed], capture_output=True, text=True)
    assert ended.returncode == 1
    assert_says(said(ended.stderr), "search.batch_size=29: of the 60 images ... the last batch has 2 ... at least 3")
    assert (ended.stdout + ended.stderr).count("of the 60 images") == 1
    assert not (tmp_path / "logs" / "stages").exists(), "a stage was begun"


def test_a_sweep_with_bad_jobs_fails_makes_the_good_ones_and_says_in_each_folder_what_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    short = [*tiny(selection="magnitude"), "evaluation=none", f"hydra.sweep.dir={tmp_path}/sweep", f"logs={tmp_path}"]
    with pytest.raises(SystemExit) as ended:
        sweep(*short, "search.epochs=0,1,-2")
    assert ended.value.code == 1
    assert_says(said(capsys.readouterr().err), "search.epochs must be a whole number above 0; got 0.")
    first, good, last = sorted((tmp_path / "sweep").glob("[0-9]*"))
    assert (good / "summary.json").exists()
    for folder, value in ((first, 0), (last, -2)):
        assert f"search.epochs must be a whole number above 0; got {value}." in (folder / "train.log").read_text()


# --- The disk. ---


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("logs={file}", "{file} ... cannot be made: a file is where a folder is needed ... set logs=FOLDER"),
        ("hydra.run.dir={file}/run", "{file} ... a file is where a folder is needed ... set logs=FOLDER"),
        ("logs=/proc/x", "/proc/x ... cannot be written ... set logs=FOLDER"),
        ("logs=null", "logs must be the name of a folder; got None"),
        ("logs=.", "stages/search/ ... a file is where a folder is needed ... Move it away"),
    ],
)
def test_a_run_folder_that_cannot_be_made_is_named(
    option: str,
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (file := tmp_path / "file").touch()
    (tmp_path / "stages").touch()
    assert_says(failed(capsys, *TINY, option.format(file=file)), expected.format(file=file))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_a_full_disk_keeps_what_is_done_and_the_run_goes_on_when_there_is_room(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    short = [*tiny(selection="magnitude"), "evaluation=none", f"logs={tmp_path}"]
    real, written = os.fsync, []

    def full(descriptor: int) -> None:
        written.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if sum("checkpoint" in name for name in written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with mock.patch("os.fsync", full):
        message = failed(capsys, *short)
    assert_says(message, "No space is left on the disk for ... checkpoint.ckpt ... free some ... typed again goes on")
    (search,) = (tmp_path / "stages" / "search").glob("s2-*[!k]")
    assert (search / "checkpoint.ckpt").exists()
    before = lines(search / "history.jsonl")[0]
    first, second = train(*short).history("search")
    assert first["seconds"] == before["seconds"], "the first epoch was made again"
    assert second["epoch"] == 1


def test_a_full_disk_under_the_figures_is_said_in_words(capsys: pytest.CaptureFixture[str], logs: str) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "figures/cells.png")
    with mock.patch("archselect.pipeline.run.draw_figures", side_effect=full):
        message = failed(capsys, *tiny(selection="magnitude"), "evaluation=none", logs)
    assert_says(message, "No space is left on the disk for figures/cells.png ... free some")


# --- Training that diverges. ---


def test_a_retraining_that_diverges_says_when_and_what_to_lower(
    capsys: pytest.CaptureFixture[str], own_logs: str
) -> None:
    message = failed(capsys, *TINY, f"genotype={CELLS}", "evaluation.optimizer.lr=1e30", own_logs)
    expected = "The evaluation diverged:  ... _loss became nan in epoch 1 ... Lower evaluation.optimizer.lr"
    assert_says(message, expected)


def test_a_loss_of_a_search_that_turns_nan_keeps_the_last_good_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    original = SearchModule.on_train_epoch_start

    def spoil(module: SearchModule) -> None:
        original(module)
        if module.current_epoch == 1:
            with torch.no_grad():
                module.supernet.weight_parameters()[0].fill_(torch.nan)

    with mock.patch.object(SearchModule, "on_train_epoch_start", spoil):
        message = failed(capsys, *tiny(selection="magnitude"), "evaluation=none", f"logs={tmp_path}")
    (search,) = (tmp_path / "stages" / "search").glob("s2-*[!k]")
    assert_says(message, "The search diverged:  ... became nan in epoch 2 ... Lower search.weight_optimizer.lr")
    assert f"The state after epoch 1 is kept in {search}" in message
    assert [record["epoch"] for record in lines(search / "history.jsonl")] == [0]
    kept = torch.load(search / "checkpoint.ckpt", weights_only=True)["state_dict"].values()
    assert all(value.isfinite().all() for value in kept if isinstance(value, torch.Tensor))
