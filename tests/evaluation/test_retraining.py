import pytest

from archselect.evaluation import NoEvaluation


def test_without_evaluation_the_options_of_a_retraining_are_left_aside() -> None:
    assert NoEvaluation("none", epochs=8, cutout=0).name == "none"


def test_without_evaluation_a_misspelt_option_of_a_retraining_is_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluation\.epcohs must be an option of a retraining, .* epochs, .*Correct"):
        NoEvaluation("none", epochs=8, epcohs=3)
