"""What a user gets wrong on the command line ends in a sentence, before any work, and nothing computed is lost."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from tests.command import TRAIN, lines, sweep, tiny, train

from archselect.evaluation.nasbench201 import COLUMNS
from archselect.search import SearchModule
from archselect.utils.errors import RunError

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Return a function that types a command, which must be refused before any stage begins: what is said."""
    monkeypatch.chdir(tmp_path)

    def refuse(*overrides: str) -> str:
        logs = tmp_path / "logs"
        with pytest.raises(SystemExit) as ended:
            train(*overrides, f"logs={logs}")
        assert ended.value.code == 1
        assert not (logs / "stages").exists(), "a stage was begun"
        return said(capsys.readouterr().err)

    return refuse


def failed(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """Type a command that must fail, and return what it says."""
    with pytest.raises(SystemExit) as ended:
        train(*overrides)
    assert ended.value.code == 1
    return said(capsys.readouterr().err)


def said(stderr: str) -> str:
    """Return the sentences after `Error: `."""
    assert "Traceback" not in stderr
    _, _, sentences = stderr.partition("\nError: ")
    sentences, hint, _ = sentences.partition("\n(HYDRA_FULL_ERROR=1 shows the traceback.)\n")
    assert sentences and hint, f"no error is shown:\n{stderr}"
    return sentences


def each(*cases: tuple[str, str | Sequence[str], Sequence[str]]) -> pytest.MarkDecorator:
    """Parametrise by (override or overrides, parts of the message), named by the first column."""
    return pytest.mark.parametrize(
        ("overrides", "parts"),
        [
            pytest.param([given] if isinstance(given, str) else list(given), parts, id=name)
            for name, given, parts in cases
        ],
    )


def assert_says(message: str, parts: Sequence[str]) -> None:
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"


# --- Names of options and members. ---


@each(
    (
        "a key that does not exist",
        "search.epoch=3",
        ["There is no option search.epoch. Did you mean epochs?", "The options of search are"],
    ),
    ("a group that does not exist", "serch=darts", ["There is no option serch. Did you mean search"]),
    ("a member that does not exist", "search_space=s5", ["There is no search_space=s5.", "nasbench201", "s4"]),
    (
        "a key that is added",
        "+search.epoch=3",
        ["search: ", "unexpected keyword argument 'epoch'", "The options that there are stand in configs/search/."],
    ),
    ("an interpolation of nothing", "search.epochs=${nowhere}", ["Interpolation key 'nowhere' not found"]),
    ("half a list", "search.epochs=[1", ["no viable alternative at input '[1'"]),
)
def test_a_name_that_does_not_exist_is_refused(overrides: list[str], parts: Sequence[str], refused: Refused) -> None:
    message = refused(*tiny(), *overrides)
    assert_says(message, parts)
    assert "logs=FOLDER" not in message
    assert len(message.splitlines()) == len(set(message.splitlines()))


# --- Numbers and choices. ---

WHOLE = "must be a whole number above 0; got"
FINITE = "must be a finite number, 0 or more; got"


@each(
    ("search for no epoch", "search.epochs=0", [f"search.epochs {WHOLE} 0"]),
    ("search for text", "search.epochs=abc", [f"search.epochs {WHOLE} 'abc'"]),
    ("retraining for no epoch", "evaluation.epochs=0", [f"evaluation.epochs {WHOLE} 0"]),
    ("batch of none", "search.batch_size=0", [f"search.batch_size {WHOLE} 0"]),
    ("batch of one and a half", "search.batch_size=1.5", [f"search.batch_size {WHOLE} 1.5"]),
    ("retraining batch of none", "evaluation.batch_size=0", [f"evaluation.batch_size {WHOLE} 0"]),
    ("seed as text", "seed=abc", ["seed must be a whole number, 0 or more; got 'abc'"]),
    ("seed below 0", "seed=-1", ["seed must be a whole number, 0 or more; got -1"]),
    ("seed that is missing", "seed=null", ["seed must be a whole number, 0 or more; got None"]),
    (
        "weights learn backwards",
        "search.weight_optimizer.lr=-1",
        ["search.weight_optimizer", "learning rate: -1", "change"],
    ),
    ("alpha learns backwards", "search.architecture_optimizer.lr=-1", ["search.architecture_optimizer", "rate: -1"]),
    ("tuning learns backwards", "selection.tuning.learning_rate=-1", [f"selection.tuning.learning_rate {FINITE} -1"]),
    ("network learns backwards", "evaluation.optimizer.lr=-1", ["evaluation.optimizer", "learning rate: -1", "change"]),
    (
        "learning rate as text",
        "search.weight_optimizer.lr=abc",
        ["weight_optimizer.lr must be a finite number; got 'abc'"],
    ),
    (
        "learning rate missing",
        "search.weight_optimizer.lr=null",
        ["weight_optimizer.lr must be a finite number; got None"],
    ),
    ("learning rate nan", "evaluation.optimizer.lr=nan", ["evaluation.optimizer.lr must be a finite number; got nan"]),
    ("tuning rate as text", "selection.tuning.learning_rate=abc", [f"tuning.learning_rate {FINITE} 'abc'"]),
    ("tuning rate infinite", "selection.tuning.learning_rate=inf", [f"tuning.learning_rate {FINITE} inf"]),
    ("one beta", "search.architecture_optimizer.betas=0.5", ["search.architecture_optimizer", "betas=0.5", "change"]),
    ("lowest rate as text", "search.learning_rate_min=abc", [f"search.learning_rate_min {FINITE} 'abc'"]),
    ("clip to nothing", "search.gradient_clip=0", ["search.gradient_clip must be a finite number above 0; got 0"]),
    (
        "retraining clipped to nothing",
        "evaluation.gradient_clip=0",
        ["gradient_clip must be a finite number above 0; got 0"],
    ),
    (
        "CUDA graphs of a retraining on a CPU",
        "evaluation.capture=cuda_graphs",
        ["evaluation.capture=cuda_graphs needs a CUDA device", "Use evaluation.capture=none"],
    ),
    (
        "half a pixel of cutout",
        "evaluation.cutout=1.5",
        ["evaluation.cutout must be a whole number, 0 or more; got 1.5"],
    ),
    (
        "cutout above the image",
        "evaluation.cutout=16",
        ["cutout of 16 pixels is larger than the images, 8 x 8", "smaller"],
    ),
    ("auxiliary head as text", "evaluation.auxiliary_weight=yes", [f"evaluation.auxiliary_weight {FINITE} 'yes'"]),
    ("no layers", "evaluation.network.layers=0", ["evaluation.network: ", "layers, at least 2; got 0"]),
    ("odd channels", "search_space.channels=5", ["search_space.channels must be even", "got 5"]),
    ("spread below 0", "search_space.alpha_scale=-1", [f"search_space.alpha_scale {FINITE} -1"]),
    (
        "gradient by name",
        "search.architecture_gradient=foo",
        ["search.architecture_gradient must name a class by its _target_", "got 'foo'"],
    ),
    ("criterion", "selection.operation_criterion=f1", ["operation_criterion must be one of accuracy, loss; got 'f1'"]),
    ("flag", "selection.renormalize=maybe", ["selection.renormalize must be true or false; got 'maybe'"]),
    (
        "flag as number",
        "selection.tuning.epochs_between=true",
        ["epochs_between must be a whole number, 0 or more; got True"],
    ),
    ("size of images as text", "data.image_size=abc", ["data.image_size to be a positive whole number, got 'abc'"]),
    ("padding as text", "data.pad=abc", ["padding", "whole pixels, 0 or more", "pad='abc'"]),
    ("mean as text", "data.mean=abc", ["three numbers in data.mean", "got 'abc'"]),
    ("no name", "name=''", ["name must be the name of a folder; got ''"]),
    ("name with a path", "name=../x", ["name must be the name of a folder; got '../x'"]),
    ("a format no figure has", "figures.format=eps", ["figures.format must be one of png, svg, pdf", "got 'eps'"]),
    ("a list with such a format", "figures.format=[pdf,eps]", ["figures.format must be one of", "['pdf', 'eps']"]),
)
def test_a_value_that_makes_no_sense_is_refused(overrides: list[str], parts: Sequence[str], refused: Refused) -> None:
    assert_says(refused(*tiny(), *overrides), parts)


def test_an_option_is_named_once(refused: Refused) -> None:
    assert refused(*tiny(), "search.epochs=0") == "search.epochs must be a whole number above 0; got 0."


# --- Search spaces and genotypes. ---

PAIR = "[skip_connect,sep_conv_3x3]"
NODE = "skip_connect@0+sep_conv_3x3@1"
CELLS = "//".join(f"{cell}:2:{'/'.join([NODE] * 4)}" for cell in ("normal", "reduction"))


@each(
    (
        "an operation that does not exist",
        "search_space.operations=[skip_conect,sep_conv_3x3]",
        ["'skip_conect' does not exist", "Did you mean 'skip_connect'", "The primitives are none,"],
    ),
    (
        "13 lists in S1",
        ["search_space=s1", f"search_space.operations.normal=[{','.join([PAIR] * 13)}]"],
        ["normal cell has 14 edges", "13 were given", "one list per edge, in the order [(0, 2)"],
    ),
    ("an empty list", "search_space.operations=[]", ["normal cell has an empty list", "List at least one"]),
    (
        "an edge without candidates",
        f"search_space.operations=[{','.join([PAIR] * 13)},[]]",
        ["Edge (4, 5) of the normal cell has no candidate", "List at least one"],
    ),
    ("no list", "search_space.operations=5", ["must be a list of names or one list per edge; got 5"]),
    (
        "nothing to compare",
        "search_space.operations=[skip_connect]",
        ["selection=perturb compares", "has one only", "two candidates"],
    ),
    (
        "too few edges in the order",
        "selection.edge_order=[0,1,2]",
        [
            "selection.edge_order must be random, reverse, entropy, gradient_norm, global or, for the normal cell",
            "each of [0, 1, 2, 3",
            "got [0, 1, 2]",
        ],
    ),
    ("an order by name", "selection.edge_order=sorted", ["selection.edge_order must be random", "got 'sorted'"]),
    (
        "an order of another cell",
        "selection.edge_order={cell:[0,1,2,3,4,5]}",
        ["selection.edge_order names the cell types ['cell']", "has ['normal', 'reduction']"],
    ),
    ("a node without choice", "selection.node_order=[2,3,4,5]", ["each of [3, 4, 5] once; got [2, 3, 4, 5]"]),
)
def test_a_space_or_order_that_cannot_be_is_refused(
    overrides: list[str], parts: Sequence[str], refused: Refused
) -> None:
    assert_says(refused(*tiny(), *overrides), parts)


@each(
    (
        "of other operations",
        "DARTS_V2",
        ["among ['skip_connect', 'sep_conv_3x3']", "has 'dil_conv_3x3'", "search_space="],
    ),
    (
        "of another family",
        "'|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'",
        ["['normal', 'reduction']", "has ['cell']"],
    ),
    (
        "with a cycle",
        f"normal:2:{NODE}/skip_connect@0+skip_connect@7",
        ["takes source 7: a cycle", "Allowed are", "0..2"],
    ),
    ("with too few nodes", CELLS.replace(f"{NODE}/", "", 1), ["4 nodes, but the genotype's has 2 and 3", "incomplete"]),
    ("with an empty node", f"normal:2:{NODE}/", ["node 1 (state 3) has no input: a missing node", "at least one"]),
    (
        "of an unknown name",
        "DARTS_V9",
        ["'DARTS_V9' is no genotype", "Did you mean DARTS_V", "Accepted are", ".json file"],
    ),
    (
        "of an unknown operation",
        CELLS.replace("skip_connect", "skip_conect", 1),
        ["'skip_conect' does not exist", "Did you"],
    ),
    (
        "in a missing file",
        "nowhere/genotype.json",
        ["'nowhere/genotype.json', but there is no such file", "genotype.json"],
    ),
)
def test_a_genotype_that_cannot_be_is_refused(overrides: list[str], parts: Sequence[str], refused: Refused) -> None:
    assert_says(refused(*tiny(), f"genotype={overrides[0]}"), parts)


def test_a_genotype_file_with_a_cycle_is_named(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "cycle.json"
    file.write_text('{"cells": [{"name": "normal", "inputs": 2, "nodes": [[["skip_connect", 2]]]}]}')
    assert_says(refused(*tiny(), f"genotype={file}"), [f"{str(file)!r} holds no genotype", "takes source 2: a cycle"])


# --- Splits and batches. ---

EMPTY = ["leaves one part empty", "Use more images or another share"]


@each(
    (
        "search batch above its half",
        "search.batch_size=61",
        ["search.batch_size is 61, but only 60 images", "Lower it"],
    ),
    (
        "search batch above the half of alpha",
        "search.weight_share=0.8",
        ["search.batch_size is 30, but only 24 images train alpha", "Lower it"],
    ),
    (
        "retraining batch above what is left",
        "evaluation.batch_size=109",
        ["evaluation.batch_size is 109, but only 108 images are trained on", "Lower it"],
    ),
    (
        "scoring batch above what is scored",
        "selection.scoring.batch_size=61",
        ["selection.scoring.batch_size is 61, but only 60 images are scored on", "Lower it"],
    ),
    ("nothing for the weights", "search.weight_share=0.0001", ["search.weight_share: Splitting 120 images", *EMPTY]),
    ("share 0", "search.weight_share=0", ["search.weight_share must lie between 0 and 1; got 0"]),
    ("share 1", "search.weight_share=1", ["search.weight_share must lie between 0 and 1; got 1"]),
    ("share 2", "search.weight_share=2", ["search.weight_share must lie between 0 and 1; got 2"]),
    (
        "nothing held out",
        "selection.scoring.held_out_share=0.0001",
        ["selection.scoring.held_out_share: Splitting 60 images", *EMPTY],
    ),
    ("all held out", "selection.scoring.held_out_share=1", ["held_out_share must lie between 0 and 1; got 1"]),
    (
        "nothing validated on",
        "evaluation.validation_share=0.0001",
        ["evaluation.validation_share: Splitting 120", *EMPTY],
    ),
    ("more images than there are", "data.train_subset=5000", ["subset of 5000", "from 1438", "Ask for fewer"]),
)
def test_a_split_or_batch_that_cannot_be_is_refused(
    overrides: list[str], parts: Sequence[str], refused: Refused
) -> None:
    assert_says(refused(*tiny(), *overrides), parts)


# --- Data. ---


def picture(size: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(256, size=(size, size, 3), dtype=np.uint8))


def class_folders(root: Path, size: int = 8, damaged: str | None = None) -> list[str]:
    """Write two classes of four images; return the overrides that read them."""
    for split in ("train", "test"):
        for file in (f"{split}/{name}/{number}.png" for name in ("ant", "bee") for number in range(4)):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            picture(size).save(root / file)
            if file == damaged:
                (root / file).write_bytes((root / file).read_bytes()[:60])
    return images(root)


def images(root: Path) -> list[str]:
    return [*tiny(), "data=image_folder", f"data.path={root}", "data.train_subset=null", *SMALL]


SMALL = ["search.batch_size=4", "evaluation.batch_size=4", "evaluation.validation_share=0"]


def tables(root: Path, labels: bool = True, damaged: str | None = None, row: int = 7) -> list[str]:
    """Write parquet files of 20 images; return the overrides that read them."""
    root.mkdir()
    stream = io.BytesIO()
    picture(32).save(stream, "PNG")
    for split in ("train", "test"):
        pictures: list[bytes] = [stream.getvalue()] * 20
        if split == damaged:
            pictures[row] = b"no image"
        columns: dict[str, Any] = {"img": pictures, "label": [number % 10 for number in range(20)]}
        if not labels:
            del columns["label"]
        parquet.write_table(pyarrow.table(columns), root / f"{split}.parquet")
    return cifar10(root)


def cifar10(path: Path | str) -> list[str]:
    return [*tiny(), "data=cifar10", f"data.path={path}", "data.train_subset=null", *SMALL]


@pytest.mark.parametrize("size", [4, 6])
def test_images_too_small_to_be_halved_twice_are_refused(size: int, refused: Refused, tmp_path: Path) -> None:
    message = refused(*class_folders(tmp_path / "set", size=size))
    assert_says(message, ["a multiple of 4 and at least 8 pixels", f"got {size}x{size}", "data.image_size"])


def test_an_image_size_too_small_to_be_halved_twice_is_refused(refused: Refused, tmp_path: Path) -> None:
    message = refused(*class_folders(tmp_path / "set"), "data.image_size=6")
    assert_says(message, ["a multiple of 4 and at least 8 pixels", "got 6x6"])


def test_a_folder_of_images_without_a_path_is_refused(refused: Refused) -> None:
    assert_says(refused(*images(Path("x")), "data.path=null"), ["data.path=FOLDER", "train/CLASS/IMAGE.png"])


@pytest.mark.parametrize("overrides", [images, cifar10])
def test_a_missing_or_empty_path_is_refused(
    overrides: Callable[[Path], list[str]], refused: Refused, tmp_path: Path
) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert_says(refused(*overrides(path)), ["data.path", str(path), "xpected", "train/CLASS/IMAGE.png"])


@each(
    ("mean in 0..255", "data.mean=[125.3,123,113.9]", ["between 0 and 1", "got [125.3", "0 to 255 is [0.4914, 0.4824"]),
    ("a std that is none", "data.std=[nan,0.5,0.5]", ["data.std to lie above 0 and at most at 1", "got [nan"]),
)
def test_channel_statistics_in_another_unit_are_refused(
    overrides: list[str], parts: Sequence[str], refused: Refused
) -> None:
    assert_says(refused(*tiny(), *overrides), parts)


def test_one_class_alone_is_refused(refused: Refused, tmp_path: Path) -> None:
    overrides = class_folders(tmp_path / "set")
    for split in ("train", "test"):
        (tmp_path / "set" / split / "bee").rename(tmp_path / "set" / split / "ant" / "below")
    message = refused(*overrides)
    assert_says(
        message, ["All 8 training images", "are of one class, 'ant'", "two classes or more", "a folder per class"]
    )


def test_another_set_under_the_name_of_cifar10_is_refused_and_the_right_choice_named(
    refused: Refused, tmp_path: Path
) -> None:
    message = refused(*tables(tmp_path / "set"), "data.source.image_column=photo")
    assert_says(message, ["data.source.image_column is 'photo'", "data=huggingface data.path=FOLDER", "published=null"])


def test_a_table_without_labels_is_refused(refused: Refused, tmp_path: Path) -> None:
    message = refused(*tables(tmp_path / "set", labels=False))
    assert_says(message, ["a column 'label'", "train.parquet", "found img", "data.source.label_column="])


def test_a_damaged_image_is_named_by_its_file(refused: Refused, tmp_path: Path) -> None:
    message = refused(*class_folders(tmp_path / "set", damaged="train/bee/3.png"))
    assert_says(message, [f"{tmp_path}/set/train/bee/3.png is an image that cannot be decoded", "Replace or remove it"])


def test_a_damaged_image_is_named_by_its_row(refused: Refused, tmp_path: Path) -> None:
    message = refused(*tables(tmp_path / "set", damaged="train"))
    assert_says(message, [f"row 7 of {tmp_path}/set/train.parquet is not an image", "format is not known", "Replace"])


def test_a_damaged_test_image_is_named_before_the_retraining(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Not before the search, which never opens a test image."""
    sets = {
        "folders/test/bee/3.png is an image": class_folders(tmp_path / "folders", damaged="test/bee/3.png"),
        "tables/test.parquet is not an image": tables(tmp_path / "tables", damaged="test"),
    }
    for named, overrides in sets.items():
        logs = tmp_path / f"logs of {named[:6]}"
        message = failed(capsys, *overrides, f"genotype={CELLS}", f"logs='{logs}'")
        assert_says(message, [named, "Replace or remove it"])
        assert not list(logs.glob("stages/evaluation/*/history.jsonl")), "an epoch was made"


def test_cifar10_that_is_neither_here_nor_to_be_had_says_what_to_download(tmp_path: Path) -> None:
    """In a process of its own: the libraries read HF_HUB_OFFLINE once."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    ended = python(*tiny(), "data=cifar10", "data.train_subset=null", *SMALL, f"logs={tmp_path}/logs", **offline)
    assert ended.returncode == 1
    expected = [
        "uoft-cs/cifar10 is not cached",
        "https://huggingface.co/datasets/uoft-cs/cifar10",
        "data.path=FOLDER",
        "img",
    ]
    assert_says(said(ended.stderr), expected)
    assert not (tmp_path / "logs" / "stages").exists()


# --- Evaluations that do not suit the space. ---

ARCH = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of a single architecture."""
    file = tmp_path / "table.csv"
    file.write_text(",".join(COLUMNS) + f"\n0,{ARCH},10,10,1,1,1,1\n")
    return file


LOOKED_UP = ["experiment=nasbench201_small", "data=digits", "data.train_subset=120", "trainer=cpu"]


def test_a_table_that_is_missing_is_refused(refused: Refused, tmp_path: Path) -> None:
    message = refused(*LOOKED_UP, f"evaluation.table={tmp_path}/nowhere.csv")
    assert_says(message, [f"no NAS-Bench-201 table at {tmp_path}/nowhere.csv", "Set evaluation.table"])


def test_a_table_without_architectures_of_the_space_is_refused_before_the_search(refused: Refused, table: Path) -> None:
    message = refused(*LOOKED_UP, f"evaluation.table={table}")
    missing = ARCH[:-7] + "skip_connect~2|"
    assert_says(message, [f"{table} has 1 architectures, and {missing}", "not among them", "evaluation.table=null"])


def test_a_table_without_the_given_genotype_is_refused(refused: Refused, table: Path) -> None:
    other = ARCH.replace("none~2", "skip_connect~2")
    message = refused(*LOOKED_UP, f"evaluation.table={table}", f"genotype='{other}'")
    assert_says(message, [f"{other} is not among them", "evaluation.table=null"])


def test_a_table_of_just_the_given_genotype_is_enough(table: Path, own_logs: str, no_figures: None) -> None:
    run = train(*LOOKED_UP, f"evaluation.table={table}", f"genotype='{ARCH}'", own_logs)
    assert run.summary["evaluation.cifar10_test"] == 10


def test_the_table_is_for_cells_of_nasbench201(refused: Refused, table: Path) -> None:
    message = refused("search_space=s2", "data=digits", "evaluation=nasbench201", f"evaluation.table={table}")
    assert_says(message, ["looks up NAS-Bench-201 cells", "space is 's2'", "Choose search_space=nasbench201"])


@pytest.mark.parametrize(("space", "evaluation"), [("nasbench201", "retrain_cifar10"), ("s2", "retrain_nasbench201")])
def test_an_evaluation_for_another_space_is_refused(space: str, evaluation: str, refused: Refused) -> None:
    message = refused(f"search_space={space}", "data=digits", f"evaluation={evaluation}", "evaluation.cutout=0")
    assert_says(message, [f"evaluation={evaluation} does not fit search space {space!r}", "channels", "Choose another"])


# --- Where it runs. ---


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
def test_a_gpu_that_is_not_there_is_refused(refused: Refused) -> None:
    assert_says(refused(*tiny(), "trainer=gpu"), ["accelerator=gpu", "No supported gpu backend found", "trainer=cpu"])


@each(
    (
        "precision",
        "trainer.precision=nonsense",
        ["trainer.precision must be one of 32-true, bf16-mixed; got 'nonsense'"],
    ),
    ("float16", "trainer.precision=16-mixed", ["trainer.precision must be one of", "got '16-mixed'"]),
    ("no option", "trainer.strategy=ddp", ["There is no option trainer.strategy", "are accelerator, devices, sync_"]),
    ("another strategy", "+trainer.strategy=fsdp", ["trainer.strategy is not for a user to set"]),
    ("no flag", "trainer.sync_batchnorm=1", ["trainer.sync_batchnorm must be true or false; got 1"]),
    ("no device", "trainer.devices=0", ["devices=0", "trainer.devices=1"]),
    ("two machines", "+trainer.num_nodes=2", ["trainer.num_nodes is not for a user to set", "accelerator, devices"]),
    (
        "the stages' own",
        "+trainer.max_epochs=2",
        ["trainer.max_epochs is not for a user to set", "accelerator, devices"],
    ),
    ("fewer batches", "+trainer.limit_train_batches=1", ["trainer.limit_train_batches is not for a user to set"]),
    ("another accelerator", "trainer.accelerator=abacus", ["invalid accelerator name", "'abacus'", "trainer=cpu"]),
)
def test_a_trainer_that_cannot_be_is_refused(overrides: list[str], parts: Sequence[str], refused: Refused) -> None:
    assert_says(refused(*tiny(), *overrides), parts)


@each(
    ("a captured search", "search.capture=compile", ["search.capture=compile records a step of one process"]),
    ("another accelerator", "trainer.accelerator=abacus", ["invalid accelerator name", "'abacus'", "trainer=cpu"]),
    ("an option of another", "search.epochs=0", ["search.epochs must be"]),
)
def test_three_processes_are_not_started_for_what_one_can_refuse(
    overrides: list[str], parts: Sequence[str], refused: Refused
) -> None:
    with mock.patch("archselect.pipeline.run.start_processes") as start:
        assert_says(refused(*tiny(), "trainer.devices=3", *overrides), parts)
    start.assert_not_called()


@each(
    (
        "the last batch",
        "search.batch_size=29",
        ["search.batch_size=29: of the 60 images", "the last batch has 2", "at least 3"],
    ),
    ("every batch", "search.batch_size=2", ["search.batch_size=2", "a batch has 2", "at least 3"]),
    (
        "normalised by itself",  # each needs two, for a spread
        ["search.batch_size=5", "trainer.sync_batchnorm=false"],
        ["search.batch_size=5", "a batch has 5", "at least 6"],
    ),
    (
        "the retraining",
        "evaluation.batch_size=53",
        ["evaluation.batch_size=53: of the 108 images", "the last batch has 2"],
    ),
)
def test_what_three_devices_cannot_share_is_refused(
    overrides: list[str], parts: Sequence[str], refused: Refused
) -> None:
    def in_this_process(function: Callable[..., Any], arguments: tuple[Any, ...], processes: int, folder: Path) -> Any:
        assert processes == 3
        outcome = function(*arguments)
        assert isinstance(outcome, RunError)
        raise outcome

    with mock.patch("archselect.pipeline.run.start_processes", in_this_process):
        assert_says(refused(*tiny(), "trainer.devices=3", *overrides), parts)


@pytest.mark.slow
def test_what_three_processes_refuse_is_said_once(tmp_path: Path) -> None:
    typed = [*tiny(), "trainer.devices=3", "search.batch_size=29", f"logs={tmp_path / 'logs'}"]
    ended = subprocess.run([sys.executable, str(TRAIN), *typed], capture_output=True, text=True)
    assert ended.returncode == 1
    assert_says(said(ended.stderr), ["search.batch_size=29: of the 60 images", "the last batch has 2", "at least 3"])
    assert (ended.stdout + ended.stderr).count("of the 60 images") == 1
    assert not (tmp_path / "logs" / "stages").exists(), "a stage was begun"


# --- The disk. ---


def test_a_run_folder_that_cannot_be_made_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for override in (f"logs={file}", f"hydra.run.dir={file}/run"):
        message = failed(capsys, *tiny(), override)
        assert_says(message, [str(file), "cannot be made: a file is where a folder is needed", "set logs=FOLDER"])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
@pytest.mark.parametrize("override", ["logs=/proc/x", "hydra.run.dir=/proc/x"])
def test_a_folder_in_which_nothing_can_be_made_is_named(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_says(failed(capsys, *tiny(), override), ["/proc/x", "cannot be written", "set logs=FOLDER"])


def test_a_file_in_place_of_the_stages_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "stages").touch()
    message = failed(capsys, *tiny(), f"logs={tmp_path}")
    assert_says(message, [f"{tmp_path}/stages/search/", "a file is where a folder is needed", "Move it away"])


def test_results_that_go_nowhere_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_says(failed(capsys, *tiny(), "logs=null"), ["logs must be the name of a folder; got None"])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_a_full_disk_keeps_what_is_done_and_the_run_goes_on_when_there_is_room(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, no_figures: None
) -> None:
    short = [*tiny(selection="magnitude"), "evaluation=none", f"logs={tmp_path}"]
    real, written = os.fsync, []

    def full(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        written.append(name)
        if sum("checkpoint" in other for other in written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    with mock.patch("os.fsync", full), pytest.raises(SystemExit) as ended:
        train(*short)
    assert ended.value.code == 1
    message = said(capsys.readouterr().err)
    assert_says(message, ["No space is left on the disk for", "checkpoint.ckpt", "free some", "typed again goes on"])
    (search,) = (tmp_path / "stages" / "search").glob("s2-*[!k]")
    assert (search / "checkpoint.ckpt").exists()
    before = lines(search / "history.jsonl")[0]

    run = train(*short)
    first, second = run.history("search")
    assert first["seconds"] == before["seconds"], "the first epoch was made again"
    assert second["epoch"] == 1


def test_a_full_disk_under_the_figures_is_said_in_words(capsys: pytest.CaptureFixture[str], logs: str) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "figures/cells.png")
    with mock.patch("archselect.pipeline.run.draw_figures", side_effect=full), pytest.raises(SystemExit):
        train(*tiny(selection="magnitude"), "evaluation=none", logs)
    assert_says(said(capsys.readouterr().err), ["No space is left on the disk for figures/cells.png", "free some"])


# --- Training that diverges. ---


@each(
    (
        "search",
        [*tiny(selection="magnitude"), "search.weight_optimizer.lr=1e30"],
        ["The search diverged: ", "_loss became nan in epoch 1", "Lower search.weight_optimizer.lr"],
    ),
    (
        "evaluation",
        [*tiny(), f"genotype={CELLS}", "evaluation.optimizer.lr=1e30"],
        ["The evaluation diverged: ", "_loss became nan in epoch 1", "Lower evaluation.optimizer.lr"],
    ),
)
def test_training_that_diverges_says_when_and_what_to_lower(
    overrides: list[str], parts: Sequence[str], capsys: pytest.CaptureFixture[str], own_logs: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        train(*overrides, own_logs)
    assert ended.value.code == 1
    assert_says(said(capsys.readouterr().err), parts)


def test_a_loss_that_turns_nan_keeps_the_last_good_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, no_figures: None
) -> None:
    short = [*tiny(selection="magnitude"), "evaluation=none", f"logs={tmp_path}"]
    original = SearchModule.on_train_epoch_start

    def spoil(module: SearchModule) -> None:
        original(module)
        if module.current_epoch == 1:
            with torch.no_grad():
                module.supernet.weight_parameters()[0].fill_(torch.nan)

    with mock.patch.object(SearchModule, "on_train_epoch_start", spoil), pytest.raises(SystemExit):
        train(*short)
    (search,) = (tmp_path / "stages" / "search").glob("s2-*[!k]")
    message = said(capsys.readouterr().err)
    assert_says(message, ["became nan in epoch 2", f"The state after epoch 1 is kept in {search}"])
    assert [record["epoch"] for record in lines(search / "history.jsonl")] == [0]
    kept = torch.load(search / "checkpoint.ckpt", weights_only=True)["state_dict"].values()
    assert all(value.isfinite().all() for value in kept if isinstance(value, torch.Tensor))


# --- The command itself. ---


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TRAIN), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=120,
    )


def test_the_command_ends_with_code_1_and_without_a_traceback(tmp_path: Path) -> None:
    ended = python(*tiny(), "search.epochs=0", f"logs={tmp_path}")
    assert ended.returncode == 1
    assert said(ended.stderr) == "search.epochs must be a whole number above 0; got 0."


def test_the_traceback_is_there_for_those_who_ask(own_logs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(RunError, match=r"^search\.epochs must be a whole number above 0; got 0\.$"):
        train(*tiny(), "search.epochs=0", own_logs)


def test_a_sweep_with_bad_jobs_fails_makes_the_good_ones_and_says_in_each_folder_what_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, no_figures: None
) -> None:
    short = [*tiny(selection="magnitude"), "evaluation=none", f"hydra.sweep.dir={tmp_path}/sweep", f"logs={tmp_path}"]
    with pytest.raises(SystemExit) as ended:
        sweep(*short, "search.epochs=0,1,-2")
    assert ended.value.code == 1
    assert_says(said(capsys.readouterr().err), ["search.epochs must be a whole number above 0; got 0."])
    first, good, last = sorted((tmp_path / "sweep").glob("[0-9]*"))
    assert (good / "summary.json").exists()
    for folder, value in ((first, 0), (last, -2)):
        assert f"search.epochs must be a whole number above 0; got {value}." in (folder / "train.log").read_text()
