"""The verdict says what became of the whole pool, and what to do next."""

import pytest

from diva.report.run_metrics import RunMetrics
from diva.report.summary import verdict
from diva.store.evaluation import HARMFUL, HOPELESS, WAITING


def run(added: int = 0, flagged: int = 0, stop: str = "none", unknown: int = 0, **other: dict[str, int]) -> RunMetrics:
    """What the stages of a run with one round wrote, as far as the verdict reads it."""
    release = {"added": added, "flagged": flagged}
    rounds = {"r001": {"stop": stop}}
    return RunMetrics({"test": {"unknown_class": unknown}}, release, {}, rounds, {}, (), **other)


def test_wrong_labels_of_the_pool_and_candidates_that_wait_are_said_in_one_sentence() -> None:
    said = verdict(run(110, remaining={HOPELESS: 129, WAITING: 133, HARMFUL: 73}))
    assert said == (
        "110 of 445 added, 133 waiting, 129 of the pool probably wrong, 73 that would not help; "
        "next: git add -A && git commit, then diva night: rounds until no candidate is left"
    )


def test_what_is_set_aside_and_test_samples_of_other_classes_are_said() -> None:
    said = verdict(run(5, unknown=7, aside={"not an image": 2, "class the core lacks": 40}))
    assert "42 set aside (most: class the core lacks)" in said
    assert "7 test samples of classes the core lacks, which count nowhere" in said


@pytest.mark.parametrize(
    ("metrics", "step"),
    [
        (run(10, stop="the budget is spent", remaining={WAITING: 5}), "raise extend.budget"),
        (run(10, stop="no candidate is left", remaining={HOPELESS: 5}), "diva review --serve"),
        (run(10, stop="fewer candidates were left than a round adds", remaining={WAITING: 5}), "train on data/release"),
        (run(stop="the pool is empty", aside={"class the core lacks": 9}), "see why nothing of the pool is used: data"),
        (run(10, flagged=3, stop="the pool is used up"), "diva review --serve, to look at what is called wrong"),
    ],
)
def test_the_next_step_is_the_one_that_brings_most(metrics: RunMetrics, step: str) -> None:
    assert f"; next: {step}" in verdict(metrics)
