"""What is claimed of the release: its gain with an interval, the best set and how to get it, and what it rests on."""

from typing import Any

import pytest

from diva.report import claims
from diva.report.run_metrics import RunMetrics


def figures(error: float, shift: float, half: float, beside: float = -0.05) -> dict[str, float]:
    return {
        "error": error, "difference": shift, "difference_low": shift - half, "difference_high": shift + half,
        "release_difference_high": beside,
    }  # fmt: skip


def run(kind: str = "test", **sets: dict[str, Any]) -> RunMetrics:
    """A run that released its members, flagged out; each set judged by learners of these figures."""
    described = {
        name: learners["mean"] | {"panel": {"mean": learners["mean"], "learners": learners["each"]}}
        for name, learners in sets.items()
    }
    evaluate = {"test": {"kind": kind}, "release": "release_unflagged", "sets": described}
    return RunMetrics(evaluate, {"weights": {"kept": False}}, {}, {}, {}, ())


def learners(error: float, shift: float, half: float, **each: float) -> dict[str, Any]:
    named = each or {"ridge": shift, "svm": shift}
    return {"mean": figures(error, shift, half), "each": {name: figures(error, by, half) for name, by in named.items()}}


CORE = learners(0.20, 0.0, 0.0)


def test_a_sure_gain_on_all_learners_is_said_with_its_interval_and_without_warning() -> None:
    sure = run(core=CORE, release_unflagged=learners(0.15, -0.05, 0.01))
    assert claims.gain(sure) == (
        "trained on the release the error on the test set is 15.0 %, on the core 20.0 %: −5.0 points [−6.0, −4.0], "
        "the mean of 2 learners; no set is better"
    )
    assert claims.fragile(sure) == ()
    assert claims.recipe(sure).endswith("is the release: data/release/train.parquet.")


@pytest.mark.parametrize(
    ("release", "words"),
    [
        (learners(0.19, -0.01, 0.02), "is within noise: its interval, −3.0 to +1.0, holds 0"),
        (learners(0.15, -0.05, 0.01, svm=-0.15, ridge=0.0, knn=0.0), "gains by the release for sure, svm; of 2"),
    ],
)
def test_a_gain_within_noise_or_of_one_learner_is_warned_of(release: dict[str, Any], words: str) -> None:
    (warning,) = claims.fragile(run(core=CORE, release_unflagged=release))
    assert words in warning


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("everything", "set release.set: everything, release.weights: never and release.flagged: keep in params.yaml"),
        ("core", "it lies in data/fit/core.parquet"),
        ("uniform", "no setting makes it"),
    ],
)
def test_the_best_set_by_the_mean_over_learners_comes_with_how_to_get_it(name: str, how: str) -> None:
    others = {"core": CORE, "release_unflagged": learners(0.3, 0.1, 0.01), name: learners(0.1, -0.1, 0.01)}
    worse = run(**others)
    assert claims.best(worse) == name
    assert how in claims.recipe(worse)
    assert f"; the set “{claims.shown(name)}” is better for sure, 10.0 %" in claims.gain(worse)
    assert claims.fragile(worse) == (), "the release gains nothing"
    held_out = run(kind="held_out", **others)
    assert "the error on held-out rows of the core is" in claims.gain(held_out)
    assert claims.recipe(held_out).endswith("judged on labels that may be wrong: the settings may stay.")


def test_a_set_that_is_better_by_chance_alone_changes_no_setting() -> None:
    lucky = learners(0.14, -0.06, 0.01)
    lucky["mean"]["release_difference_high"] = 0.004
    made = run(core=CORE, release_unflagged=learners(0.15, -0.05, 0.01), release_unweighted=lucky)
    assert claims.gain(made).endswith("; no set is better for sure")
    assert claims.recipe(made) == (
        "★ members has the lowest error, by no more than chance beside the release: the settings may stay."
    )
    del lucky["mean"]["release_difference_high"]
    assert not claims.surely_best(made), "figures of before say nothing of it"


def test_learners_that_only_together_tell_the_release_from_the_core_are_said_to() -> None:
    unsure = learners(0.18, -0.02, 0.03)
    assert claims.gains(unsure_of(unsure)) == ("No learner alone tells the release from the core for sure.",)
    unsure["mean"] = figures(0.18, -0.02, 0.01)
    assert claims.gains(unsure_of(unsure)) == (
        "No learner alone tells the release from the core for sure; their mean does.",
    )


def unsure_of(figures_of: dict[str, Any]) -> dict[str, Any]:
    return {"mean": figures_of["mean"], "learners": figures_of["each"]}
