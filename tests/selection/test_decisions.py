from collections.abc import Mapping

from tests.selection.small_cells import WIDE_CELL, cell

from archselect.models.cell_space import CellSpace
from archselect.selection import OperationDecision, Score, TopologyDecision
from archselect.selection.decisions import TopologyRound, from_record

SPACE = cell("normal", ("none", "skip_connect", "sep_conv_3x3"), WIDE_CELL)
CELLS: Mapping[str, CellSpace] = {"normal": SPACE, "reduction": cell("reduction", ("skip_connect", "noise"), WIDE_CELL)}


def test_the_record_of_an_operation_names_everything() -> None:
    scores = (Score(0.6, 1.1), Score(0.4, 1.5), Score(0.5, 1.3))
    assert OperationDecision("normal", 3, 1, scores, Score(0.66, 1.0)).to_record(SPACE) == {
        "cell": "normal",
        "kind": "operation",
        "edge": 3,
        "edge_states": [1, 3],
        "candidates": ["none", "skip_connect", "sep_conv_3x3"],
        "scores": [
            {"candidate": "none", "accuracy": 0.6, "loss": 1.1},
            {"candidate": "skip_connect", "accuracy": 0.4, "loss": 1.5},
            {"candidate": "sep_conv_3x3", "accuracy": 0.5, "loss": 1.3},
        ],
        "kept": "skip_connect",
        "unmasked": {"accuracy": 0.66, "loss": 1.0},
        "strengths": [],
    }


def test_the_record_of_a_nodes_inputs_names_everything() -> None:
    rounds = (
        TopologyRound({}, 6),
        TopologyRound({5: Score(0.5, 1.0), 7: Score(0.7, 0.9), 8: Score(0.6, 0.8)}, 7),
    )
    assert TopologyDecision("normal", 4, (5, 8), rounds).to_record(SPACE) == {
        "cell": "normal",
        "kind": "topology",
        "node": 4,
        "candidates": [[0, 4], [1, 4], [2, 4], [3, 4]],
        "scores": [
            {"round": 1, "candidate": [0, 4], "accuracy": 0.5, "loss": 1.0},
            {"round": 1, "candidate": [2, 4], "accuracy": 0.7, "loss": 0.9},
            {"round": 1, "candidate": [3, 4], "accuracy": 0.6, "loss": 0.8},
        ],
        "dropped": [[1, 4], [2, 4]],
        "kept": [[0, 4], [3, 4]],
    }


def test_a_record_is_read_back_without_its_scores() -> None:
    for trial in (None, "normal-edge3/skip_connect"):
        record = OperationDecision("normal", 3, 1, (Score(0.6, 1.1),) * 3, trial=trial).to_record(SPACE)
        assert from_record(record, CELLS) == OperationDecision("normal", 3, 1, trial=trial)
        assert record.get("trial", None) == trial
    inputs = TopologyDecision("reduction", 3, (2, 4), (TopologyRound({}, 3),))
    assert from_record(inputs.to_record(CELLS["reduction"]), CELLS) == TopologyDecision("reduction", 3, (2, 4))
