"""The learners that training sets are judged by, and what weights are worth to them."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import beta

from diva.curation import trials
from diva.curation.benefit import Members, drawn, hold_out, soft_errors, trainable
from diva.curation.evaluation import Interval, bootstrap, train
from diva.curation.learners import TRAINERS, TrainingSet, answer, choose_penalty, logistic_outputs, mean_gain
from diva.numerics.chunks import InMemory
from diva.numerics.losses import margins
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge
from diva.store import evaluation


def blobs(n=120, classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = 3 * random.normal(size=(classes, 8))
    return (centres[labels] + random.normal(size=(n, 8))).astype(np.float32), labels


def test_a_head_of_fewer_rows_than_features_answers_in_the_features_own_coordinates():
    """Trained in the coordinates of its rows, n × n, it says what it says in the features', and so do held-out rows."""
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(90, 200, generator=generator, dtype=torch.float64), torch.arange(90) % 3
    z[torch.arange(90), y] += 4
    inside, outside = InMemory(z[:60], y[:60], 7), InMemory(z[60:], y[60:], 7)
    head, model = train(inside, 3, 0.5), fit_ridge(inside, 3, 0.5).model
    assert head.basis is not None
    assert torch.allclose(head.weights, model.head, atol=1e-10)
    assert torch.allclose(head.margins(outside), margins(z[60:] @ model.head, y[60:]), atol=1e-10)
    assert torch.equal(head.correct(outside), (z[60:] @ model.head).argmax(1) == y[60:])
    everyone = torch.ones(60, dtype=torch.bool)
    benefit = hold_out(Members(inside, 3, 0.5, everyone, ~everyone), 3, 0, flagged_out=False, steps=1)
    assert all(np.isfinite(values).all() for values in benefit.margins.values())


@pytest.mark.parametrize("learner", TRAINERS)
def test_every_learner_tells_clusters_apart_and_answers_the_same_twice(learner):
    x, y = blobs()
    first, second = (answer(learner, TrainingSet(x[:90], y[:90]), x[90:], seed=1).predicted for _ in range(2))
    assert (first == second).all()
    assert (first == y[90:]).mean() > 0.9


@pytest.mark.parametrize("learner", TRAINERS)
def test_a_row_of_weight_zero_is_as_good_as_absent(learner):
    x, y = blobs()
    weights = np.ones(90)
    weights[:30] = 0
    weighed = answer(learner, TrainingSet(x[:90], y[:90], weights), x[90:], penalty=1.0)
    absent = answer(learner, TrainingSet(x[30:90], y[30:90], np.ones(60)), x[90:], penalty=1.0)
    assert weighed.rows == absent.rows == 60
    assert (weighed.predicted == absent.predicted).all()


def test_the_ridge_learner_is_the_head():
    x, y = blobs()
    model = fit_ridge(InMemory(torch.from_numpy(np.column_stack([x, np.ones(120)])).double(), torch.tensor(y)), 3, 0.1)
    expected = (np.column_stack([x, np.ones(120)]) @ model.model.head.numpy()).argmax(1)
    assert (answer("ridge", TrainingSet(x, y), x, penalty=0.1).predicted == expected).all()


def test_a_sample_of_a_large_set_holds_every_class():
    labels = np.array([0] * 500 + [1])
    sample = TrainingSet(np.zeros((501, 2)), labels).sample(10, 0)
    assert len(sample.labels) == 10
    assert set(sample.labels) == {0, 1}


def test_rows_that_judge_weights_hold_every_class_of_those_that_may_train():
    labels, mask = torch.tensor([0] * 500 + [1, 2]), torch.arange(502) != 501
    chosen = drawn(labels, mask, 10, 0)
    assert chosen.sum() == 10
    assert set(labels[chosen].tolist()) == {0, 1}
    assert drawn(labels, mask, 600, 0).equal(mask)


def test_the_penalty_is_one_of_those_tried_and_does_not_see_the_test_set():
    x, y = blobs()
    assert choose_penalty("logistic", TrainingSet(x, y)) in (1.0, 10.0, 100.0)
    assert choose_penalty("knn", TrainingSet(x, y)) == 1.0


def test_an_unknown_learner_is_named():
    with pytest.raises(ValueError, match="learners must be of ridge, logistic, svm, knn, mlp, got 'tree'"):
        answer("tree", TrainingSet(*blobs()), np.zeros((1, 8)))  # type: ignore[arg-type]


def test_the_gain_is_paired():
    gain, error = mean_gain([np.array([0.0, 0, 1])] * 2, [np.array([1.0, 0, 1])] * 2)
    assert gain == pytest.approx(1 / 3)
    assert error == pytest.approx(np.std([1, 0, 0], ddof=1) / 3**0.5)


@pytest.mark.parametrize(("enough", "folds"), [(20_000, 3), (40, 2), (1, 1)])
def test_weights_are_judged_on_rows_of_the_core_alone_those_called_wrong_among_them(monkeypatch, enough, folds):
    monkeypatch.setattr("diva.curation.reweight.ENOUGH", enough)
    x, y = blobs(200)
    chunks = Prepared(InMemory(torch.from_numpy(x), torch.from_numpy(y), 64))
    core, flagged = torch.arange(200) < 90, torch.arange(200) % 10 == 0
    benefit = hold_out(Members(chunks, 3, 0.1, core, flagged), 3, 0, flagged_out=True, steps=2).figures()
    assert benefit["rows"] == 30 * folds
    assert benefit["folds"] == folds
    assert set(benefit["learners"]) == {"ridge", "logistic"}
    assert benefit["gain"] == pytest.approx(benefit["without_weights"] - benefit["with_weights"])


def test_soft_errors_blur_right_and_wrong_by_the_learners_own_scale():
    margins = np.array([-np.inf, -1.0, 0.0, 0.1, 3.0, np.inf])
    errors = soft_errors(margins)
    assert errors[[0, 2, 5]].tolist() == [1, 0.5, 0]
    assert errors[1] == pytest.approx(1 / (1 + np.exp(-1 / (0.2 * 0.55))))  # the median of 1, 0, 0.1 and 3
    assert soft_errors(7 * margins) == pytest.approx(errors)
    assert soft_errors(np.array([-2.0, 0, 0, 0, 5])).tolist() == [1, 0.5, 0.5, 0.5, 0]


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_logits_are_those_of_the_learner_and_minus_infinite_of_a_class_that_no_row_trains(classes):
    x, y = blobs(classes=classes)
    weights = np.where(np.arange(120) < 100, 1.5, 0)
    outputs = logistic_outputs(TrainingSet(x, 2 * y, weights), x, 6, penalty=10.0)
    assert (outputs.argmax(1) == answer("logistic", TrainingSet(x, 2 * y, weights), x, penalty=10.0).predicted).all()
    assert np.isneginf(outputs[:, 1::2]).all()
    assert np.isfinite(outputs[:, : 2 * classes : 2]).all()


def test_a_class_that_would_keep_fewer_than_two_rows_trains_whole():
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    flagged = torch.tensor([True, False, False, True, True, False])
    assert trainable(labels, torch.ones(6, dtype=torch.bool), flagged).tolist() == [False, True, True, True, True, True]


def test_a_release_that_is_worse_than_the_core_is_warned_of():
    mean = {"error": 0.3, "difference": 0.1, "difference_low": 0.05, "difference_high": 0.15}
    figures = {"panel": {"mean": mean, "learners": {"ridge": mean}}}
    assert "WARNING: the release is worse than the core" in evaluation.warning(figures)
    figures["panel"]["mean"] = mean | {"difference_low": -0.05}
    assert evaluation.warning(figures) == ""


def test_the_release_is_named_by_what_it_kept():
    assert evaluation.release_set({"weighted": True, "flagged_out": True}) == "release_unflagged_weighted"
    assert evaluation.release_set({"weighted": False, "flagged_out": True}) == "release_unflagged"
    assert evaluation.release_set({"weighted": True}) == "release_weighted"
    assert evaluation.release_set({}) == "release_unweighted"


def test_a_fold_holds_whole_groups_and_takes_what_shares_a_group_with_it_along():
    groups = torch.tensor([0, 0, 1, 1, -1, -1, -1, 2, 2])
    core = torch.tensor([True, True, True, False, True, True, False, False, False])
    chunks = InMemory(torch.zeros(9, 2), torch.zeros(9, dtype=torch.int64), 4)
    fold = Members(chunks, 2, 0.1, core, torch.zeros(9, dtype=torch.bool), groups).folds(2, 0)
    assert fold[0] == fold[1] >= 0
    assert fold[2] == fold[3] >= 0  # a row of the pool, related to one of the core
    assert (fold[[4, 5]] >= 0).all()
    assert (fold[[6, 7, 8]] == -1).all()  # of the pool, and related to no row of the core


def test_without_groups_folds_are_a_permutation_of_the_rows_that_test():
    core, flagged = torch.arange(20) < 12, torch.arange(20) % 5 == 0
    chunks = InMemory(torch.zeros(20, 2), torch.zeros(20, dtype=torch.int64), 4)
    fold = Members(chunks, 2, 0.1, core, flagged).folds(3, 7)
    assert fold[core].tolist() == (torch.randperm(12, generator=torch.Generator().manual_seed(7)) % 3).tolist()
    assert (fold[~core] == -1).all()


def test_samples_of_a_group_are_drawn_together():
    errors = np.array([1.0, 1, 1, 0, 0, 0, 1, 0])
    alike = bootstrap(errors, 500, 0, np.arange(8))
    assert alike == bootstrap(errors, 500, 0)
    together = bootstrap(errors, 500, 0, np.array([0, 0, 0, 1, 1, 1, 2, 3]))
    assert together.mean == alike.mean
    assert together.high - together.low > alike.high - alike.low


@pytest.mark.parametrize("units", [None, np.array([0, 0, 0, 1, 1, 1, 2, 3])])
def test_errors_that_are_all_alike_have_the_exact_interval_and_differences_none(units: Any) -> None:
    n, zeros = 8 if units is None else 4, np.zeros(8)
    none, all_wrong = bootstrap(zeros, 50, 0, units), bootstrap(zeros + 1, 50, 0, units)
    assert (none.mean, none.low, none.high) == (0, 0, pytest.approx(beta.ppf(0.975, 1, n), rel=1e-12))
    assert (all_wrong.mean, all_wrong.low, all_wrong.high) == (1, pytest.approx(beta.ppf(0.025, n, 1), rel=1e-12), 1)
    assert bootstrap(zeros, 50, 0, units, exact=False) == Interval(0, 0, 0)
    assert bootstrap(zeros + 0.5, 50, 0, units) == Interval(0.5, 0.5, 0.5)


def related(**groups: int) -> pl.DataFrame:
    return pl.DataFrame(
        {"sample_id": list(groups), "number": list(groups.values())}, {"sample_id": pl.String, "number": pl.Int64}
    )


CORE = pl.DataFrame({"sample_id": list("abcdefghij"), "label": list("xyxyxyxyxy"), "group": [None] * 10})


def test_a_held_out_fold_of_the_core_holds_whole_groups_and_what_is_related_to_it_must_not_train():
    groups = related(a=1, b=1, c=1, d=2, e=2, f=2, g=2, p=1, q=2, r=3)
    exam = trials.exam(CORE, CORE.clear(), ["x", "y"], 0.3, 0, groups)
    fold, excluded = set(exam.rows["sample_id"]), set(exam.excluded)
    for whole, pool in (("abc", "p"), ("defg", "q")):
        assert set(whole) <= fold or set(whole).isdisjoint(fold)
        assert (pool in excluded) == set(whole).issubset(fold)
    assert 3 <= len(fold) < 10
    assert "r" not in excluded
    assert len(exam.units) == len(fold)


def test_without_groups_the_held_out_fold_is_a_permutation_of_the_core():
    exam = trials.exam(CORE, CORE.clear(), ["x", "y"], 0.3, 4, related())
    drawn = sorted(np.random.default_rng(4).permutation(10)[:3].tolist())
    assert exam.rows["sample_id"].to_list() == CORE["sample_id"][drawn].to_list() == exam.excluded
    assert exam.units.tolist() == [0, 1, 2]


def test_a_core_of_one_group_is_held_out_by_samples_and_says_so():
    exam = trials.exam(CORE, CORE.clear(), ["x", "y"], 0.3, 0, related(**dict.fromkeys("abcdefghij", 5)))
    assert len(exam.rows) == len(exam.excluded) == 3
    assert "one group, which cannot be left out" in str(exam.about["caveat"])
