"""Operations look the same in every picture, and never two alike in one."""

from itertools import combinations

from archselect.figures.style import STYLES, styles
from archselect.models.ops import PRIMITIVES


def test_every_primitive_has_a_style_of_its_own() -> None:
    assert set(PRIMITIVES) <= set(STYLES)


def test_the_operations_of_a_space_differ_in_colour_or_line() -> None:
    spaces = (
        "none max_pool_3x3 avg_pool_3x3 skip_connect sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5",
        "none skip_connect nor_conv_1x1 nor_conv_3x3 avg_pool_3x3",
        "noise sep_conv_3x3 sep_conv_5x5 sep_conv_7x7",
        "mine yours theirs ours skip_connect",
    )
    for space in map(str.split, spaces):
        looks = styles(space)
        assert list(looks) == space
        for one, other in combinations(space, 2):
            assert (looks[one].colour, looks[one].line) != (looks[other].colour, looks[other].line)


def test_an_operation_of_ones_own_keeps_its_style_where_it_occurs_again() -> None:
    assert styles(["mine", "noise", "mine", "yours"]) == styles(["mine", "yours", "noise"])


def test_a_tint_is_light_enough_for_dark_text() -> None:
    assert all(min(look.tint) >= 0.75 for look in STYLES.values())
