from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tests.selection.judge import Judge, decided_by, inputs_kept, never, operations_kept, worth
from tests.selection.small_cells import THREE, TWO, WIDE_CELL, apply, cell, undecided

from archselect.distributed.rng import derived_seed
from archselect.models.supernet.mixture import nonzero
from archselect.selection import OperationDecision, Shapley, TopologyDecision
from archselect.selection.shapley import shapley_values
from archselect.tasks import Classification, Regression

Coalition = frozenset[str]

# Three players: a and b are worth nothing alone and 6 together, c is worth 1 alone and 2 more beside a.
GAME = {"": 0.0, "a": 0.0, "b": 0.0, "c": 1.0, "ab": 6.0, "ac": 3.0, "bc": 1.0, "abc": 9.0}


class Table:
    """Worths by formula; remembers which coalitions it was asked for, call by call."""

    def __init__(self, worth_of: Callable[[Coalition], float]) -> None:
        self.worth_of = worth_of
        self.calls: list[list[Coalition]] = []

    def __call__(self, coalitions: Sequence[Coalition]) -> list[float]:
        self.calls.append(list(coalitions))
        return [self.worth_of(coalition) for coalition in coalitions]

    @property
    def asked(self) -> list[Coalition]:
        return [coalition for call in self.calls for coalition in call]


def game(coalition: Coalition) -> float:
    return GAME["".join(sorted(coalition))]


def irregular(coalition: Coalition) -> float:
    return derived_seed("irregular", *sorted(coalition)) / 2**63


def values_of(table: Table, players: str, permutations: int, seed: int = 0, truncation: float | None = None) -> Any:
    found = shapley_values(players, table, permutations, (seed, "test"), truncation)
    assert list(found) == list(players)
    return [strength.value for strength in found.values()], [strength.standard_error for strength in found.values()]


# Values


def test_a_game_of_three_comes_near_the_mean_over_all_six_permutations() -> None:
    # By hand, joining: a brings 0 first, 6 after b, 2 after c and 8 last, so 0/3 + 6/6 + 2/6 + 8/3 = 4, and so on.
    values, errors = values_of(Table(game), "abc", 600)
    for value, error, exact in zip(values, errors, (4, 3, 2), strict=True):
        assert 0 < error < 0.15
        assert abs(value - exact) < 4 * error


def test_the_standard_error_is_that_of_the_mean_over_permutations() -> None:
    single = [values_of(Table(game), "abc", number + 1)[0] for number in range(4)]
    sums = torch.tensor(single, dtype=torch.float64) * torch.arange(1, 5).unsqueeze(1)
    contributions = sums.diff(dim=0, prepend=torch.zeros(1, 3))  # the first permutations stay when there are more
    assert values_of(Table(game), "abc", 4)[1] == pytest.approx((contributions.std(dim=0) / 2).tolist())


def test_the_values_sum_to_what_all_are_worth_less_what_nobody_is_worth_in_every_permutation() -> None:
    everyone = frozenset("abcdef")
    values, errors = values_of(Table(irregular), "abcdef", 1)
    assert sum(values) == pytest.approx(irregular(everyone) - irregular(frozenset()))
    assert errors == [None] * 6


# Coalitions that are asked for


def test_permutations_advance_side_by_side_and_no_coalition_is_asked_for_twice() -> None:
    table = Table(irregular)
    values_of(table, "abcd", 50)
    assert [{len(coalition) for coalition in call} for call in table.calls] == [{4}, {3}, {2}, {1}, {0}]
    assert [len(call) for call in table.calls] == [1, 4, 6, 4, 1]
    assert len(set(table.asked)) == len(table.asked)


def test_truncation_ends_a_permutation_below_the_share_and_whoever_is_still_in_contributes_nothing() -> None:
    whole, cut = Table(lambda left: len(left) / 10), Table(lambda left: len(left) / 10)
    full, _ = values_of(whole, "abcdefghij", 1)
    truncated, _ = values_of(cut, "abcdefghij", 1, truncation=0.65)
    # Worth 1.0, 0.9, 0.8, 0.7 and 0.6, which is below 0.65: four have left, and so have contributed.
    assert (len(whole.asked), len(cut.asked)) == (11, 5)
    assert cut.asked == whole.asked[:5]
    left = cut.asked[-1]
    assert full == pytest.approx([0.1] * 10)
    assert truncated == pytest.approx([0.0 if player in left else 0.1 for player in "abcdefghij"])


def test_every_permutation_is_truncated_by_itself() -> None:
    # Without a nothing is left. One permutation is over when a has gone, the others are not.
    table = Table(lambda left: float("a" in left))
    (a, *others), _ = values_of(table, "abcd", 8, truncation=0.5)
    assert (a, others) == (1, [0, 0, 0])
    over = [coalition for coalition in table.asked if "a" not in coalition]
    assert len(over) > 1
    assert all(coalition | {"a"} in table.asked for coalition in over)


# The selector


def test_keeps_the_operations_worth_most_and_reports_what_each_is_worth() -> None:
    judge = Judge(worth("cell", [[0.1, 0.3, 0.2], [0.3, 0.1, 0.2], [0.1, 0.2, 0.3]]))
    decided = decided_by(Shapley(permutations=2, truncation=None), undecided(cell("cell", THREE)), judge)
    assert operations_kept(decided) == {("cell", 0): 1, ("cell", 1): 0, ("cell", 2): 2}
    strengths = decided[0].strengths
    assert [strength.value for strength in strengths] == pytest.approx([0.1 / 3, 0.1, 0.2 / 3])
    assert [strength.standard_error for strength in strengths] == pytest.approx([0, 0, 0], abs=1e-7)


@pytest.mark.parametrize(("truncation", "left"), [(None, 9), (0.5, 5)])
def test_a_selection_is_truncated_as_its_option_says(truncation: float | None, left: int) -> None:
    # Nine players of equal worth: with a share of 0.5, the fifth to leave brings it below and is the last.
    judge = Judge(worth("cell", [[1 / 3] * 3] * 3))
    values = Shapley(permutations=1, truncation=truncation).values(undecided(cell("cell", THREE)), judge, 0)
    assert [strength.value for strength in values.values() if strength.value] == pytest.approx([1 / 9] * left)
    assert judge.passes == 1 + left


def test_no_share_of_a_negative_worth_is_taken() -> None:
    Shapley(truncation=None).check_task(Regression())
    Shapley().check_task(Classification())
    with pytest.raises(ValueError, match=r"truncation=0\.5 .* task=regression is judged by mean_absolute_error"):
        Shapley().check_task(Regression())


@pytest.mark.parametrize(("criterion", "kept"), [("metric", 1), ("loss", 0)])
def test_the_criterion_says_what_a_coalition_is_worth(criterion: Any, kept: int) -> None:
    judge = Judge(worth("cell", [[0.1, 0.9]] * 3), worth("cell", [[-0.9, -0.1]] * 3))
    selector = Shapley(criterion=criterion, truncation=None)
    assert set(operations_kept(decided_by(selector, undecided(cell("cell", TWO)), judge)).values()) == {kept}


def test_an_absent_operation_weighs_nothing_and_the_others_keep_their_weight() -> None:
    judge = Judge()
    supernet = undecided(cell("one", THREE), cell("two", [["skip_connect"], [*TWO], ["skip_connect"]]))
    values = Shapley(permutations=3, truncation=None).values(supernet, judge, 0)
    own = supernet.mixture_weights()
    assert len(values) == 3 * 3 + 2
    assert len(judge.rounds) == 1 + len(values)
    for trial in (trial for round_ in judge.rounds for trial in round_):
        for name in ("one", "two"):
            assert nonzero(trial[name]) == trial.active[name]
            assert torch.equal(trial[name], own[name] * torch.tensor(trial.active[name]))
    assert sum(map(sum, judge.rounds[-1][0].active["one"])) == 0
    assert sum(map(sum, judge.rounds[-1][0].active["two"])) == 2  # the edges with a single candidate do not play
    assert all(any(trial[name] is judge.rounds[0][0][name] for name in trial) for trial in judge.rounds[1])


def test_none_is_kept_where_all_others_do_harm_and_its_edge_is_the_last_among_inputs() -> None:
    space = cell("cell", ("none", *TWO), WIDE_CELL)
    table = [[0.0, -0.1, -0.2] if edge == 5 else [0.0, 0.1 * edge, -0.5 - edge] for edge in range(9)]
    table[8] = [0.0, -0.3, 0.001]
    gain = worth("cell", table)
    judge = Judge(loss=lambda weights: 9 - gain(weights))
    decided = decided_by(Shapley(criterion="loss", truncation=None), undecided(space), judge)
    kept = operations_kept(decided)
    assert (kept["cell", 5], kept["cell", 6], kept["cell", 8]) == (0, 1, 2)
    assert inputs_kept(decided)["cell", 4] == (6, 7)


def test_what_is_decided_is_no_player_and_comes_before_the_others_except_for_none() -> None:
    with_none = ("none", *TWO)
    supernet = undecided(cell("cell", [*[with_none] * 6, TWO, TWO, with_none], WIDE_CELL))
    apply(OperationDecision("cell", 5, 0), supernet)
    apply(OperationDecision("cell", 8, 2), supernet)
    apply(TopologyDecision("cell", 3, (3, 4)), supernet)
    table = [[0.1, 0.2, 0.1 * edge] for edge in range(9)]
    table[6:8] = [[-0.2, -0.3, 0.0], [-0.1, -0.4, 0.0]]  # both do harm; the edge with `none` goes first all the same
    judge = Judge(worth("cell", table))
    selector = Shapley(permutations=2, truncation=None)
    assert {player.edge for player in selector.values(supernet, judge, 0)} == {0, 1, 3, 4, 6, 7}
    decided = decided_by(selector, supernet, judge)
    assert {edge for _, edge in operations_kept(decided)} == {0, 1, 3, 4, 6, 7}
    assert inputs_kept(decided) == {("cell", 4): (7, 8)}
    own = supernet.decisions["cell"]
    assert (own.operations[5], own.operations[8]) == (0, 2)


def test_an_edge_with_one_candidate_is_kept_without_a_game() -> None:
    space = cell("cell", [["skip_connect"]] * 6 + [[*TWO]] * 2 + [["skip_connect"]], WIDE_CELL)
    decided = decided_by(Shapley(permutations=1), undecided(space), Judge(worth("cell", [[0.5, 0.6]] * 9)))
    assert operations_kept(decided) == {("cell", edge): int(edge in (6, 7)) for edge in range(9)}
    assert inputs_kept(decided)["cell", 4] == (5, 8)
    with_strengths = [d.edge for d in decided if isinstance(d, OperationDecision) and d.strengths]
    assert with_strengths == [6, 7]


def test_where_only_nodes_are_left_nothing_is_scored() -> None:
    supernet = undecided(cell("cell", TWO, WIDE_CELL))
    for edge in range(9):
        apply(OperationDecision("cell", edge, 1), supernet)
    assert inputs_kept(decided_by(Shapley(), supernet, never)) == {("cell", 3): (2, 3), ("cell", 4): (5, 6)}
