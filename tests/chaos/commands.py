"""What is run and killed: a command for each way in which stages keep what they have so far."""

from collections.abc import Mapping

from tests.command import tiny

# Four steps an epoch: long enough that most moments are in the middle of work.
LONGER = ["data.train_subset=240", "search.epochs=6", "evaluation.epochs=8"]

COMMANDS: Mapping[str, list[str]] = {
    "quickstart": ["experiment=quickstart", "trainer=cpu"],
    "sgas": tiny("s2", "sgas", "perturb", *LONGER),
    "discretization": tiny("nasbench201", "darts", "discretization", *LONGER),
    "racing": tiny(
        "s4",
        "darts",
        "perturb",
        *LONGER,
        "selection/scoring=racing",
        "selection.scoring.first_check=2",
        "protocol.scoring_batches=null",
    ),
    "two devices": tiny("nasbench201", "darts", "perturb", *LONGER, "trainer.devices=2"),
    "second order": tiny("s2", "darts_second_order", "perturb", *LONGER),
}
