"""Two processes that share every batch compute what one process computes; in float64, to rounding that tells."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distributed import computations as compute
from tests.distributed.cooperation import cooperation
from tests.distributed.two_processes import in_two
from torch import nn

from archselect.distributed.process_group import WHOLE

EXACT = {"rtol": 1e-7, "atol": 1e-9}


def everything() -> dict[str, Any]:
    warnings.simplefilter("ignore")
    return {
        **cooperation(),
        **{name: compute.searched(changes) for name, changes in compute.METHODS.items()},
        **{name: compute.scored(scoring) for name, scoring in compute.SCORINGS.items()},
        "no path": compute.searched({}, decided=compute.NO_PATH),
        "retraining": compute.retrained(),
        "normalisation": compute.normalised(),
        "per class": compute.per_class(),
    }


def more() -> dict[str, Any]:
    warnings.simplefilter("ignore")
    return {name: compute.searched(changes) for name, changes in compute.MORE_METHODS.items()}


def normalised_by_parts() -> compute.Fit:
    warnings.simplefilter("ignore")
    return compute.searched({}, synchronised=False)


def on_a_gpu() -> dict[str, Any]:
    compared = partial(compute.normalised, device="cuda", dtype=torch.float32)
    return {"ours": compared(), "PyTorch's": compared(nn.SyncBatchNorm, second_order=False)}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes came to."""
    return in_two(everything, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def two_more(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return in_two(more, tmp_path_factory.mktemp("more"))


# --- What they compute. ---


@pytest.mark.slow
@pytest.mark.parametrize("name", compute.MORE_METHODS)
def test_a_search_with_more(name: str, two_more: list[dict[str, Any]]) -> None:
    assert_same(compute.searched(compute.MORE_METHODS[name]), *(process[name] for process in two_more))


@pytest.mark.parametrize("name", compute.METHODS)
def test_a_search_with(name: str, two: list[dict[str, Any]]) -> None:
    assert_same(compute.searched(compute.METHODS[name]), *(process[name] for process in two))


def test_a_search_whose_loss_depends_on_no_alpha(two: list[dict[str, Any]]) -> None:
    assert_same(compute.searched({}, decided=compute.NO_PATH), *(process["no path"] for process in two))


@pytest.mark.slow
def test_processes_that_normalise_by_themselves_hold_the_same_but_not_what_one_holds(tmp_path: Path) -> None:
    first, second = in_two(normalised_by_parts, tmp_path, synchronised=False)
    assert_same(first, second)
    alone, _ = compute.searched({})
    assert not torch.allclose(first[0]["stem.1.running_var"], alone["stem.1.running_var"], rtol=1e-6)


def test_a_retraining(two: list[dict[str, Any]]) -> None:
    assert_same(compute.retrained(), *(process["retraining"] for process in two))


@pytest.mark.parametrize("name", compute.SCORINGS)
def test_scores_are_those_of_one_process_to_the_last_bit(name: str, two: list[dict[str, Any]]) -> None:
    alone = compute.scored(compute.SCORINGS[name])
    assert len({score.loss for score, _ in alone}) > 1
    assert any(score.eliminated_after for score, _ in alone) == (name == "a race")
    assert [process[name] for process in two] == [alone, alone]


def test_a_normalisation_and_its_derivatives(two: list[dict[str, Any]]) -> None:
    assert_parts([process["normalisation"] for process in two], compute.normalised(), **EXACT)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_normalisation_on_a_gpu_is_that_of_the_whole_batch_and_of_pytorch(tmp_path: Path) -> None:
    """Two processes on one GPU, which speak by gloo: NCCL wants a GPU for each."""
    alone, two = on_a_gpu(), in_two(on_a_gpu, tmp_path)
    for kind in alone:
        assert_parts([process[kind] for process in two], alone["ours"], rtol=1e-5, atol=1e-5)


def test_the_accuracy_of_each_class_to_the_last_bit(two: list[dict[str, Any]]) -> None:
    expected = compute.per_class()
    assert not expected.isnan().any() and len(set(expected.tolist())) > 1
    assert all(torch.equal(process["per class"], expected) for process in two)


def test_gradients_are_sums_that_keep_shapes_and_what_is_none(two: list[dict[str, Any]]) -> None:
    for process in two:
        first, nothing, second = process["sums"]
        assert nothing is None
        assert torch.equal(first, torch.full((2, 1), 3.0)) and torch.equal(second, torch.full((3,), 30.0))


# --- What each of them has of a batch, and what it draws. ---


def test_the_parts_of_two_processes_make_the_whole_batches(two: list[dict[str, Any]]) -> None:
    first, second = (process["read_batches"] for process in two)
    length, whole = first["whole"]
    assert length == 4 and sorted(image for batch in whole for image in batch) == list(range(13))
    assert first["sharded"] == (3, [batch[:2] for batch in whole[:3]])  # it has nothing of the last image
    assert second["sharded"] == (4, [*(batch[2:] for batch in whole[:3]), whole[3]])
    length, shuffled = first["whole and shuffled"]
    parts = zip(first["shuffled"][1], second["shuffled"][1], strict=True)
    assert shuffled == [one + other for one, other in parts] and length == 4


def test_whole_batches_amid_a_fit_are_those_of_one_process(two: list[dict[str, Any]]) -> None:
    for process in two:
        found = process["read_batches"]
        assert found["whole"] == found["whole amid shards"] == found["main alone"] == two[0]["read_batches"]["whole"]


def test_draws_for_images_differ_between_processes_and_those_for_a_step_do_not(two: list[dict[str, Any]]) -> None:
    one_process = torch.rand(4, generator=torch.Generator().manual_seed(7)).tolist()
    (first, *others), (second, *same) = (process["draws"] for process in two)
    assert others == same == [one_process, one_process]
    assert (len(set(first)), len(set(second))) == (6, 8)
    assert not set(first) & set(second) and not {*first, *second} & set(one_process)


# --- What one does for all, and what all meet. ---


def test_all_return_what_the_main_process_alone_computes_which_may_ask_for_it_within(two: list[dict[str, Any]]) -> None:
    assert [process["on_main"] for process in two] == [("of process 0", WHOLE, [0, 1])] * 2


def test_processes_that_would_make_other_stages_are_refused(two: list[dict[str, Any]]) -> None:
    refused = ("UserError", "They differ. They have seed 0, seed 1.")
    assert [process["comparisons"] for process in two] == [(None, refused)] * 2


def test_a_difference_between_processes_is_an_error(two: list[dict[str, Any]]) -> None:
    for process in two:
        kind, words = process["disagreement"]
        assert kind == "UserError"
        assert "hold different numbers after epoch 3, first in running_var (1 of 5 tensors" in words


def test_the_main_process_reads_and_writes_a_stage_for_all(two: list[dict[str, Any]]) -> None:
    main, other = (process["shared_folder"] for process in two)
    assert main["lines"] == other["lines"] == [{"process": 0, "epoch": 1}]
    assert "history.jsonl" in main["files"]
    assert other["files"] == []


def assert_same(alone: compute.Fit, *processes: compute.Fit) -> None:
    for weights, epochs in processes:
        torch.testing.assert_close(weights, alone[0], **EXACT)
        assert len(epochs) == len(alone[1]) >= 2
        for found, expected in zip(epochs, alone[1], strict=True):
            assert found == pytest.approx(expected, rel=1e-6)


def assert_parts(processes: list[dict[str, Any]], alone: dict[str, Any], **tolerances: float) -> None:
    for name in processes[0]:
        parts = [process[name] for process in processes]
        found = torch.cat(parts) if len(alone[name]) == 5 else parts[0]
        torch.testing.assert_close(found, alone[name], **tolerances)
