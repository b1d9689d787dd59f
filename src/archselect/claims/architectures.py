"""The paper's claims about selected architectures (5 and 6), each with its rule."""

from archselect.claims.evidence import Evidence, differences, listed
from archselect.claims.verdict import Judged, all_or_none, by_seed, mean, missing


def perturbation_repairs(evidence: Evidence) -> Judged:
    """Claim 5. Reproduced: with every seed, in both spaces, perturbation's architecture is better than magnitude's.

    Not reproduced: with no seed. The accuracy on NAS-Bench-201 is the benchmark's own.
    """
    claim = "From one supernet, perturbation selects better architectures than magnitude (Alg. 1, Tables 2, 3)"
    pictures = (("s2", "cells"), ("nasbench201", "trajectory"))
    words: list[str] = []
    holds: list[bool] = []
    for space in ("s2", "nasbench201"):
        ours, theirs = (evidence.accuracy(space, "darts", name) for name in ("perturb", "magnitude"))
        holds += [gap > 0 for gap in differences(ours, theirs)]
        words.append(f"{space}: perturb {listed(ours)} %, magnitude {listed(theirs)} %")
    if not holds:
        return missing(5, claim, pictures)
    return Judged(5, claim, all_or_none(holds), "; ".join(words) + " (by seed).", pictures)


def alpha_is_not_needed(evidence: Evidence) -> Judged:
    """Claim 6. Reproduced: with every seed, perturbation on a fixed alpha is better than magnitude on a trained one.

    And in the course of the selection the supernet is better with perturbation than with PT-Mag. Not reproduced: none
    of that, with no seed.
    """
    claim = "It works without training alpha; PT-Mag, tuned alike, does worse (Table 4, Fig. 6)"
    pictures = (("s2", "selection_curve"),)
    words: list[str] = []
    holds: list[bool] = []
    for space in ("s2", "nasbench201"):
        ours, theirs = (
            evidence.accuracy(space, "fixed_alpha", "perturb"),
            evidence.accuracy(space, "darts", "magnitude"),
        )
        holds += [gap > 0 for gap in differences(ours, theirs)]
        words.append(f"{space}: fixed alpha and perturb {listed(ours)} %, magnitude {listed(theirs)} % (by seed)")
    for seed, own in by_seed(evidence.table("s2", "selection_curve") or []).items():
        names = dict.fromkeys(row["selection"] for row in own)
        means = {name: mean([row["val_accuracy"] for row in own if row["selection"] == name]) for name in names}
        holds.append(means["perturb"] > means["perturb_magnitude"])
        through = ", ".join(f"{name} {100 * value:.1f} %" for name, value in means.items())
        words.append(f"validation accuracy through the selection, seed {seed}: {through}")
    if not holds:
        return missing(6, claim, pictures)
    return Judged(6, claim, all_or_none(holds), "; ".join(words) + ".", pictures)
