import copy
import dataclasses
import datetime
import importlib.metadata
import subprocess
import sys
import warnings

import h5py
import numpy as np
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import check_estimator

import diva
from diva.curation.additions import RoundSettings
from diva.curation.detect import detect as detect_rows
from diva.curation.extend import extend as extend_rows
from diva.curation.reweight import reweight as reweight_rows
from diva.estimators import DivaClassifier, Extension, RoundSummary, detect, explain, extend, reweight
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative
from diva.numerics.grid import RIDGES
from diva.numerics.leave_one_out import temperatures
from diva.numerics.losses import Loss
from diva.numerics.precision import fit_ridge
from tests.problems import relative_error

DOUBLE = {"ridge": 0.3, "dtype": "float64"}


def blobs(n=48, classes=3, p=5, seed=0, wrong=0):
    """Rows around one centre a class; the first ``wrong`` labels are the next class's."""
    r = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = r.normal(size=(classes, p))[y] * 2 + r.normal(size=(n, p))
    y[:wrong] = (y[:wrong] + 1) % classes
    return X, y


def prepared(X, normalize="unit"):
    z = X / np.linalg.norm(X, axis=1, keepdims=True) if normalize == "unit" else X
    return np.column_stack([z, np.ones(len(X))])


def as_chunks(X, y):
    return InMemory(torch.tensor(prepared(X)), torch.tensor(y), 11)


def planted(n=600, share=0.2, seed=0):
    """Digits with a fifth of the labels wrong: X, y, which are wrong, the truth."""
    X, truth = (a[:n] for a in load_digits(return_X_y=True))
    r = np.random.default_rng(seed)
    wrong = np.zeros(n, dtype=bool)
    wrong[r.permutation(n)[: round(share * n)]] = True
    return X, np.where(wrong, (truth + r.integers(1, 10, n)) % 10, truth), wrong, truth


WEIGHT_TWO = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a weight of 2 leaves both copies out together, where a row given twice leaves out one, so λ and T* may differ"
    )
}


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [(DivaClassifier(ridge=1.0, dtype="float64"), WEIGHT_TWO), (DivaClassifier(), WEIGHT_TWO)],
    ids=["ridge given", "defaults"],
)
def test_scikit_learns_own_checks_pass(estimator, expected):
    results = check_estimator(estimator, expected_failed_checks=expected, on_skip=None)
    statuses = {result["check_name"]: result["status"] for result in results}
    assert len(statuses) > 40
    assert {name for name, status in statuses.items() if status not in ("passed", "skipped")} <= set(expected)


# The classifier


def test_of_a_given_ridge_a_weight_of_two_is_a_row_given_twice():
    X, y, _, _ = planted(120)
    weights = np.random.default_rng(0).integers(0, 3, len(y))
    weighted = DivaClassifier(ridge=1.0, dtype="float64").fit(X, y, sample_weight=weights)
    repeated = DivaClassifier(ridge=1.0, dtype="float64").fit(X.repeat(weights, 0), y.repeat(weights))
    assert_allclose(weighted.decision_function(X), repeated.decision_function(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_those_of_the_outputs_at_the_temperature_of_leave_one_out(classes):
    X, y, _, _ = planted(400)
    X, y = X[y < classes], y[y < classes]
    model = DivaClassifier(dtype="float64").fit(X, y)
    naive_entropies = [
        -np.log(softmax(t * model.loo_predictions_, axis=1)[np.arange(len(y)), y]).mean() for t in temperatures()
    ]
    assert model.temperature_ == float(temperatures()[int(np.argmin(naive_entropies))])
    assert_allclose(model.loo_proba_, softmax(model.temperature_ * model.loo_predictions_, axis=1))
    probabilities = model.predict_proba(X)
    assert_allclose(probabilities.sum(1), 1)
    assert (model.classes_[probabilities.argmax(1)] == model.predict(X)).all()
    if classes > 2:
        assert_allclose(probabilities, softmax(model.temperature_ * model.decision_function(X), axis=1))
    assert len(model.fit(X[:60], y[:60]).loo_proba_) == 60  # of the new fit


# Why


def test_an_explanation_names_the_wrong_label_and_whom_it_harms():
    X, y, wrong, truth = planted(600)
    doubtful = int(np.flatnonzero(wrong)[1])
    reasons = explain(X, y, doubtful, top=7, dtype="float64", groups="never")
    assert (reasons.label, reasons.suggested) == (y[doubtful], truth[doubtful])
    assert reasons.derivative > 0  # more of it harms
    assert (reasons.helped.influence < 0).all()
    assert (reasons.harmed.influence > 0).all()
    assert len(reasons.helped.index) == len(reasons.harmed.index) == 7
    assert reasons.without[truth[doubtful]] > reasons.probabilities[truth[doubtful]]
    assert (y[reasons.same.index] == y[doubtful]).all()
    assert (y[reasons.other.index] == truth[doubtful]).all()
    assert doubtful not in reasons.same.index
    z = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert_allclose(reasons.other.cosine, z[reasons.other.index] @ z[doubtful], rtol=1e-9)
    assert reasons.other.cosine[0] == pytest.approx((z @ z[doubtful])[y == truth[doubtful]].max())
    assert reasons.group.tolist() == [doubtful]


def test_an_explanation_leaves_a_group_out_together():
    X, y, _, _ = planted(300)
    groups = np.arange(300) // 3
    reasons = explain(X, y, 10, groups=groups, top=300, dtype="float64", loss="all", ridge=1.0)
    assert reasons.group.tolist() == [9, 10, 11]
    rest = np.ones(300, dtype=bool)
    rest[9:12] = False
    alone = DivaClassifier(ridge=1.0, dtype="float64").fit(X[rest], y[rest], groups=groups[rest])
    assert reasons.suggested == alone.predict(X[10:11])[0]
    model = DivaClassifier(ridge=1.0, dtype="float64").fit(X, y, groups=groups)
    assert reasons.derivative == pytest.approx(model.derivative_[10], rel=1e-9)
    assert not {9, 10, 11} & {*reasons.helped.index, *reasons.harmed.index, *reasons.same.index}
    parts = [*reasons.helped.influence, *reasons.harmed.influence]
    assert sum(parts) / 300 == pytest.approx(reasons.derivative, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"index": index}, r"index must be a row of X \(0 to 299\), got") for index in (300, -1, 3.0, "ant", True)),
        ({"index": 0, "top": 0}, "top"),
        ({"index": 0, "top": 2.5}, "top must be at least 1, got 2.5; give a whole number"),
    ],
)
def test_an_explanation_asks_for_a_row_that_is_there(options, message):
    X, y, _, _ = planted(300)
    with pytest.raises(ValueError, match=message):
        explain(X, y, **options)


# Results are easy to look at


def test_results_are_a_line_a_table_and_a_frame():
    X, y, _, _ = planted(300)
    detection, weights = detect(X, y), reweight(X, y, steps=1)
    added = extend(X[:100], y[:100], X[100:], y[100:], budget=5)
    assert repr(detection) == f"Detection({detection.flagged.sum()} of 300 labels flagged)"
    assert repr(weights).startswith("Reweighting(300 weights from ")
    assert repr(weights).endswith("after 1 steps)")
    assert repr(added).startswith("Extension(5 samples to add, in ")
    frame = detection.to_frame()
    assert frame.columns == ["row", "score", "margin", "flagged", "suggested"]
    assert frame["suggested"].to_list() == detection.suggested.tolist()
    assert weights.to_frame()["weight"].to_list() == weights.weights.tolist()
    assert added.to_frame()["row"].to_list() == added.index.tolist()
    assert detection._repr_html_().startswith("<p>Detection(")
    assert "<table" in detection._repr_html_()
    reasons = explain(X, y, 0, top=3)
    assert repr(reasons).startswith(f"Explanation(labelled {reasons.label}, suggested {reasons.suggested}; ")
    assert reasons.to_frame()["relation"].unique(maintain_order=True).to_list() == [
        "helped", "harmed", "same label", "other label",
    ]  # fmt: skip


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("normalize", ["unit", "none"])
def test_loo_predictions_equal_n_refits(classes, normalize):
    X, y = blobs(classes=classes, wrong=4)
    estimator = DivaClassifier(normalize=normalize, **DOUBLE).fit(X, y)
    f = estimator.loo_predictions_
    outputs = f[:, 1] - f[:, 0] if classes == 2 else f
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        refit = clone(estimator).fit(X[others], y[others])
        np.testing.assert_allclose(outputs[i], refit.decision_function(X[i : i + 1])[0], rtol=1e-10, atol=1e-12)


def test_weighted_loo_predictions_equal_n_refits():
    X, y = blobs()
    weights = np.random.default_rng(1).uniform(0, 2, len(y))
    f = DivaClassifier(**DOUBLE).fit(X, y, weights).loo_predictions_
    for i in range(len(y)):
        without = np.where(np.arange(len(y)) == i, 0, weights)
        refit = DivaClassifier(**DOUBLE).fit(X, y, without)
        np.testing.assert_allclose(f[i], refit.decision_function(X[i : i + 1])[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_decision_is_linear_in_the_normalised_rows(classes, dtype):
    X, y = blobs(classes=classes)
    estimator = DivaClassifier(ridge=0.3, dtype=dtype).fit(X, y)
    rows = 1 if classes == 2 else classes
    assert (estimator.coef_.shape, estimator.intercept_.shape) == ((rows, 5), (rows,))
    outputs = X / np.linalg.norm(X, axis=1, keepdims=True) @ estimator.coef_.T + estimator.intercept_
    decision = estimator.decision_function(X)
    assert decision.shape == ((len(X),) if classes == 2 else (len(X), classes))
    np.testing.assert_allclose(decision, outputs[:, 0] if classes == 2 else outputs, rtol=1e-10, atol=1e-12)


def test_standardized_rows_are_those_of_the_training_set():
    X, y = blobs()
    X = X * [1, 10, 100, 1000, 1] + 50
    estimator = DivaClassifier(normalize="standardize", **DOUBLE).fit(X, y)
    z = (X - X.mean(0)) / X.std(0)
    np.testing.assert_allclose(estimator.scaling_.mean, X.mean(0))
    np.testing.assert_allclose(
        estimator.decision_function(X[:3]), z[:3] @ estimator.coef_.T + estimator.intercept_, rtol=1e-9, atol=1e-12
    )
    y_twice = np.r_[y, y]
    absent = DivaClassifier(normalize="standardize", **DOUBLE).fit(
        np.r_[X, 1000 * X], y_twice, np.r_[np.ones(len(y)), np.zeros(len(y))]
    )
    np.testing.assert_allclose(absent.coef_, estimator.coef_, rtol=1e-9)


def test_a_row_of_weight_zero_is_as_good_as_absent():
    X, y = blobs(wrong=6)
    weights = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    present = weights > 0
    for ridge in (0.3, "loo"):
        all_rows = DivaClassifier(ridge=ridge, dtype="float64").fit(X, y, weights)
        fewer = DivaClassifier(ridge=ridge, dtype="float64").fit(X[present], y[present], weights[present])
        assert all_rows.ridge_ == fewer.ridge_
        for name in ("coef_", "intercept_"):
            np.testing.assert_allclose(getattr(all_rows, name), getattr(fewer, name), rtol=1e-9, atol=1e-12)
        for name in ("derivative_", "leverage_", "loo_predictions_"):
            np.testing.assert_allclose(getattr(all_rows, name)[present], getattr(fewer, name), rtol=1e-8, atol=1e-12)
        assert (all_rows.leverage_[~present] == 0).all()


def test_leverage_and_derivative_are_those_of_the_closed_forms():
    X, y = blobs()
    estimator = DivaClassifier(**DOUBLE).fit(X, y)
    z = prepared(X)
    expected = np.diag(z @ np.linalg.inv(z.T @ z + 0.3 * np.eye(6)) @ z.T)
    np.testing.assert_allclose(estimator.leverage_, expected, rtol=1e-10)
    derivative = dataset_derivative(fit_ridge(as_chunks(X, y), 3, 0.3), Loss("all")).values.numpy()
    np.testing.assert_allclose(estimator.derivative_, derivative, rtol=1e-8, atol=1e-14)


def test_derivative_is_positive_where_labels_are_wrong():
    X, y, wrong, _ = planted()
    derivative = DivaClassifier().fit(X, y).derivative_
    assert (derivative[wrong] > 0).mean() > 0.9
    assert (derivative[~wrong] < 0).mean() > 0.7
    assert roc_auc_score(wrong, derivative) > 0.95


def test_ridge_is_of_the_grid_or_as_given():
    X, y = blobs()
    assert DivaClassifier().fit(X, y).ridge_ in RIDGES
    assert DivaClassifier(ridge=2).fit(X, y).ridge_ == 2.0


def test_labels_may_be_strings():
    X, y = blobs(wrong=5)
    names = np.array(["ant", "bee", "cat"])
    by_code, by_name = DivaClassifier(**DOUBLE).fit(X, y), DivaClassifier(**DOUBLE).fit(X, names[y].tolist())
    assert by_name.classes_.tolist() == ["ant", "bee", "cat"]
    assert by_name.predict(X).tolist() == names[by_code.predict(X)].tolist()
    assert by_name.score(X, names[y]) == by_code.score(X, y)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.float16, np.float32, ">f8"])
def test_any_real_type_is_converted_at_the_door(dtype):
    X, y = blobs()
    X = np.abs(np.round(4 * X))  # exact in every one of these types
    expected = DivaClassifier(**DOUBLE).fit(X, y)
    actual = DivaClassifier(**DOUBLE).fit(X.astype(dtype), y)
    np.testing.assert_allclose(actual.coef_, expected.coef_, rtol=1e-12)


def test_booleans_are_zeros_and_ones():
    X, y = blobs()
    expected = DivaClassifier(**DOUBLE).fit((X > 0).astype(float), y)
    for given in (X > 0, torch.tensor(X > 0)):
        np.testing.assert_array_equal(DivaClassifier(**DOUBLE).fit(given, y).coef_, expected.coef_)


def test_a_fitted_classifier_survives_copying():
    X, y = blobs()
    for normalize in ("unit", "standardize"):
        estimator = DivaClassifier(normalize=normalize).fit(X, y)
        again = copy.deepcopy(estimator)
        np.testing.assert_array_equal(again.decision_function(X), estimator.decision_function(X))


def test_chunk_size_changes_nothing():
    X, y = blobs()
    whole, parts = (DivaClassifier(chunk_size=size, **DOUBLE).fit(X, y) for size in (8192, 7))
    for name in ("coef_", "leverage_", "loo_predictions_", "derivative_"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-13)


# Arrays, tensors, data sets


class Recording(h5py.Dataset):
    """A data set that remembers the most rows asked of it at once, and cannot be read by the way."""

    largest = 0

    def __getitem__(self, key):
        rows = super().__getitem__(key)
        Recording.largest = max(Recording.largest, len(rows))
        return rows

    def __array__(self, *args, **kwargs):
        raise AssertionError("the data set was read as a whole")


@pytest.fixture
def stored(tmp_path):
    """The same rows thrice: numpy, torch, h5py; and labels."""
    X, y = blobs(n=90, wrong=9)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["X"], file["y"] = X, y
        Recording.largest = 0
        yield X, torch.tensor(X), Recording(file["X"].id), y


def everything(X, y, X_pool, y_pool):
    """What each entry point says, as one list of arrays."""
    settings = {"dtype": "float64", "chunk_size": 16}
    estimator = DivaClassifier(**settings).fit(X, y)
    added = extend(X, y, X_pool, y_pool, stop=False, **settings)
    found = detect(X, y, **settings)
    return [
        estimator.coef_, estimator.loo_predictions_, estimator.leverage_, estimator.derivative_,
        estimator.decision_function(X), estimator.predict(X), found.score, found.margin, found.flagged,
        found.suggested, reweight(X, y, **settings).weights, added.index, added.derivative, added.round,
    ]  # fmt: skip


def test_numpy_torch_and_h5py_give_equal_results(stored):
    X, tensor, dataset, y = stored
    expected = everything(X, y, X, y)
    for rows, labels in ((tensor, torch.tensor(y)), (dataset, y)):
        for actual, array in zip(everything(rows, labels, rows, labels), expected, strict=True):
            assert isinstance(actual, np.ndarray)
            np.testing.assert_array_equal(actual, array)


def test_a_data_set_is_streamed_and_never_read_whole(stored):
    _, _, dataset, y = stored
    everything(dataset, y, dataset, y)
    DivaClassifier(normalize="standardize", chunk_size=16).fit(dataset, y, np.arange(90) % 3).score(dataset, y)
    assert Recording.largest == 16


def test_labels_may_lie_in_a_data_set(tmp_path):
    X, y = blobs()
    names = np.array(["ant", "bee", "cat"])[y]
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["codes"] = y
        file.create_dataset("names", data=names.astype(object), dtype=h5py.string_dtype())
        assert DivaClassifier().fit(X, file["codes"]).classes_.tolist() == [0, 1, 2]
        assert DivaClassifier().fit(X, file["names"]).classes_.tolist() == ["ant", "bee", "cat"]


def test_tensors_that_require_gradients_are_only_read():
    X, y = blobs()
    rows = torch.tensor(X, requires_grad=True)
    weights = torch.ones(48, requires_grad=True)
    assert DivaClassifier().fit(rows, torch.tensor(y), weights).predict(rows).shape == (48,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu():
    X, y = blobs(n=90, wrong=9)
    expected = everything(X, y, *blobs(n=30, seed=1))
    rows = torch.tensor(X, device="cuda")
    for actual, array in zip(everything(rows, torch.tensor(y).cuda(), *blobs(n=30, seed=1)), expected, strict=True):
        np.testing.assert_allclose(actual, array, rtol=1e-8, atol=1e-11)


# Functions


def test_detect_is_that_of_the_numerics():
    X, y = blobs(wrong=6)
    names = np.array(["ant", "bee", "cat"])
    for score, rule in (("soft", "rate"), ("margin", "margin"), ("derivative", "derivative")):
        found = detect(X, names[y], score=score, rule=rule, **DOUBLE)
        expected = detect_rows(fit_ridge(as_chunks(X, y), 3, 0.3), score=score, rule=rule)
        assert relative_error(torch.tensor(found.score), expected.score) < 1e-9
        assert relative_error(torch.tensor(found.margin), expected.margin) < 1e-10
        assert found.flagged.tolist() == expected.flagged.tolist()
        assert found.suggested.tolist() == names[expected.suggested].tolist()


def test_detect_finds_planted_labels_and_suggests_the_true_ones():
    X, y, wrong, truth = planted()
    found = detect(X, y)
    assert roc_auc_score(wrong, found.score) > 0.95
    assert wrong[found.flagged].mean() > 0.9
    assert (found.suggested == truth)[found.flagged].mean() > 0.8


@pytest.mark.parametrize("loss", ["calibrated", "hard_margin"])
def test_reweight_is_that_of_the_numerics(loss):
    X, y = blobs(wrong=6)
    weighed = reweight(X, y, loss=loss, steps=2, step_size=0.3, **DOUBLE)
    expected = reweight_rows(fit_ridge(as_chunks(X, y), 3, 0.3), loss=loss, steps=2, step_size=0.3)
    assert relative_error(torch.tensor(weighed.weights), expected.weights) < 1e-10
    assert len(weighed.history) == 2
    assert weighed.history[0].loss == pytest.approx(expected.history[0].loss)
    assert DivaClassifier(**DOUBLE).fit(X, y, weighed.weights).predict(X).shape == (48,)


def test_reweight_lowers_its_loss_and_the_weight_of_wrong_labels():
    X, y, wrong, _ = planted()
    weighed = reweight(X, y)
    losses = [step.loss for step in weighed.history]
    assert losses == sorted(losses, reverse=True)
    assert weighed.weights[wrong].mean() < weighed.weights[~wrong].mean()


@pytest.mark.parametrize(
    "run", [reweight, lambda X, y, **rules: extend(X, y, X, y, **rules)], ids=["reweight", "extend"]
)
def test_hard_margin_warns_once_where_labels_are_noisy(run):
    X, y, _, truth = planted()
    with pytest.warns(
        UserWarning, match="hard_margin lets wrong labels steer, and .* of the labels look wrong"
    ) as said:
        run(X, y, groups="never", loss="hard_margin", ridge=0.1)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(X, truth, groups="never", loss="hard_margin", ridge=0.1)
        run(X, y, groups="never", ridge=0.1)


@pytest.mark.parametrize(("loss", "validate_on"), [("calibrated", "members_and_pool"), ("hard_margin", "members")])
def test_extend_is_that_of_the_numerics(loss, validate_on):
    (X, y), (pool, labels) = blobs(wrong=6), blobs(n=60, seed=0, wrong=12)
    names = np.array(["ant", "bee", "cat"])
    rules = {"loss": loss, "validate_on": validate_on, "per_round": 7, "budget": 20}
    added = extend(X, names[y], pool, names[labels], **rules, **DOUBLE)
    settings = RoundSettings(7, validate_on=validate_on)
    core = fit_ridge(as_chunks(X, y), 3, 0.3)
    expected = extend_rows(core, as_chunks(pool, labels), loss=loss, budget=20, settings=settings)
    assert added.index.tolist() == expected.index.tolist()
    assert added.round.tolist() == expected.round.tolist()
    np.testing.assert_allclose(added.derivative, expected.derivative, rtol=1e-8)
    assert [turn.added for turn in added.history] == [len(turn.index) for turn in expected.history]
    assert added.stop == expected.stop


def test_extend_may_lack_classes_in_the_pool_but_not_in_the_core():
    X, y = blobs()
    assert len(extend(X, y, X[y < 1], y[y < 1], stop=False).index) == 16
    with pytest.raises(ValueError, match=r"y_pool must hold only classes of y, got \[7\]; leave those samples out"):
        extend(X, y, X, np.where(y == 1, 7, y))


def test_a_pool_is_read_in_the_spelling_of_the_core():
    X, y = blobs(n=24)
    added = extend(X, y, X, y).index.tolist()
    assert extend(X, y, X, y.astype(str)).index.tolist() == extend(X, y.astype(str), X, y + 0.0).index.tolist() == added
    names = np.array(["ant", "bee", "cat"])[y]
    assert extend(X, names, X, [f"{name} " for name in names]).index.tolist() == added
    with pytest.raises(ValueError, match=r"y_pool must hold only classes of y, got \['Ant'\]"):
        extend(X, names, X, np.where(y == 0, "Ant", names))
    with pytest.warns(UserWarning, match="y holds 'Ant' and 'ant', which count as two classes"):
        detect(X, np.where((np.arange(24) < 6) & (y == 0), "Ant", names))


def test_an_empty_pool_adds_nothing():
    X, y = blobs()
    added = extend(X, y, X[:0], y[:0])
    assert added.index.shape == added.round.shape == added.derivative.shape == (0,)
    assert (added.history, added.stop) == ((), "the pool is empty")


def test_extend_says_where_nothing_validates():
    X, y = np.eye(2).repeat(10, 0), np.arange(2).repeat(10)
    added = extend(X, y, X, y, loss="hard_margin", ridge=0.1)
    assert added.stop == "no sample validates, so the derivative is zero"
    assert len(added.index) == 0


def test_results_are_frozen():
    X, y = blobs(wrong=6)
    results = [detect(X, y), reweight(X, y), extend(X, y, X, y), RoundSummary(1, 1, 1.0, 1.0)]
    for result in results:
        field = dataclasses.fields(result)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, field, None)
    assert isinstance(results[2], Extension)


# Bad input


def with_nan(X):
    X = X.copy()
    X[3, 2] = np.nan
    return X


def with_date(X):
    when = pl.lit(datetime.date(2024, 1, 1)).alias("when")
    return pl.DataFrame(X).with_columns(when)


@pytest.mark.parametrize("entry", [lambda X, y: DivaClassifier().fit(X, y), detect, reweight])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda X, y: (with_nan(X), y), "Input X contains NaN"),
        (lambda X, y: (pl.DataFrame(with_nan(X)), y), "Input X contains NaN in row 3, column 'column_2'; fill it in"),
        (
            lambda X, y: (with_date(X), y),
            "X must hold numbers, got dates in column 'when'; leave",
        ),
        (
            lambda X, y: (X.round(2).astype(str).tolist()[:5] + [["x"] * 5] * 43, y),
            "numbers, got 'x' in row 5, column 0; leave",
        ),
        (
            lambda X, y: (np.char.replace(X.astype(str), ".", ","), y),
            "got .*row 0, column 0; write decimals",
        ),
        (lambda X, y: (torch.tensor(with_nan(X)), y), "features must be finite, got NaN or infinity in row 3"),
        (lambda X, y: (X, 0 * y), "y must hold at least 2 classes .* got 1 class"),
        (lambda X, y: (X, y[1:]), r"inconsistent numbers of samples: \[48, 47\]"),
        (lambda X, y: (X, [None, *map(str, y[1:])]), "y must hold a label for every row, got none in row 0"),
        (lambda X, y: (X, [*map(str, y[1:]), np.nan]), "y must hold a label for every row, got none in row 47"),
        (lambda X, y: (X, y + 0.5), "Unknown label type: continuous"),
        (lambda X, y: (X[:, 0], y), "Expected 2D array, got 1D array"),
        (lambda X, y: (torch.tensor(X[:, 0]), y), r"X must have shape \(n, p\) with at least 1 row"),
        (lambda X, y: (torch.tensor(X[:0]), y[:0]), r"X must have shape \(n, p\) with at least 1 row"),
        (lambda X, y: (torch.tensor(X).to_sparse(), y), r"X must be dense, got .*; use X.to_dense\(\)"),
        (lambda X, y: (torch.tensor(X) * 1j, y), "X must hold real numbers, got torch.complex128"),
        (lambda X, y: (np.zeros(len(X), "f4,f4"), y), r"fields f0, f1…; numpy.*\.structured_to_unstructured\(X\)"),
    ],
)
def test_bad_samples_are_named(entry, spoil, message):
    with pytest.raises(ValueError, match=message):
        entry(*spoil(*blobs()))


@pytest.mark.parametrize("entry", [lambda X, y: DivaClassifier().fit(X, y), reweight])
def test_a_class_of_one_sample_cannot_be_learnt_leaving_one_out(entry):
    X, y = blobs()
    with pytest.raises(ValueError, match=r"at least 2 samples of every class, got one sample of 9; .* add samples"):
        entry(X, np.r_[9, y[1:]])


def test_a_class_of_one_sample_is_not_judged():
    X, y = blobs()
    with pytest.warns(UserWarning, match=r"classes of one sample \(1: 9\) are not judged: add a second"):
        found = detect(X, np.r_[9, y[1:]])
    assert not found.flagged[0]
    assert np.isnan(found.score[0])
    assert np.isfinite(found.score[1:]).all()
    assert "not judged" in found.message


def test_labels_without_relation_to_the_features_are_not_judged():
    random = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="no label is called wrong: .* these features cannot tell"):
        found = detect(random.normal(size=(200, 20)), random.integers(0, 4, 200))
    assert not found.flagged.any()
    assert detect(*blobs()).message == ""


def test_scipys_sparse_arrays_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    X, y = blobs()
    with pytest.raises(TypeError, match=r"dense data is required. Use '.toarray\(\)'"):
        DivaClassifier().fit(sparse.csr_array(X), y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: DivaClassifier(ridge=-1.0).fit(X, y), "ridge must be 'loo' or positive and finite, got -1.0"),
        (lambda X, y: detect(X, y, ridge=0), "ridge must be 'loo' or positive and finite, got 0"),
        (lambda X, y: detect(X, y, ridge="gcv"), "ridge must be 'loo' or positive and finite, got 'gcv'"),
        (lambda X, y: detect(X, y, dtype="float16"), "dtype must be one of auto, float32, float64, got 'float16'"),
        (lambda X, y: detect(X, y, normalize="l1"), "normalize must be one of unit, none, standardize, got 'l1'"),
        (lambda X, y: detect(X, y, chunk_size=0), "chunk_size must be at least 1, got 0"),
        (lambda X, y: detect(X, y, score="loss"), "score must be one of soft, margin, derivative, got 'loss'"),
        (lambda X, y: detect(X, y, rule="top"), "rule must be one of rate, margin, derivative, got 'top'"),
        (lambda X, y: reweight(X, y, loss="soft"), "loss must be one of all, hard_margin, .* got 'soft'"),
        (lambda X, y: reweight(X, y, steps=-1), "steps must be 'auto' or at least 0, got -1"),
        (lambda X, y: extend(X, y, X, y, loss="soft"), "loss must be one of all, hard_margin, .* got 'soft'"),
        (lambda X, y: extend(X, y, X, y, validate_on="core"), "validate_on must be one of members, members_and_pool"),
        (lambda X, y: extend(X, y, X, y, budget=49), r"budget must lie in 0..48 \(the pool\), got 49"),
        (lambda X, y: extend(X, y, X, y, budget=0.1), "budget must lie in 0..48 .*, got 0.1; give a whole number"),
        (lambda X, y: diva.suggest(X, y, X, budget=0.1), "budget must lie in 0..48 .*, got 0.1; give a whole number"),
        (lambda X, y: diva.suggest(X, y, X[:0], budget=1), r"X_pool must have shape \(n, p\) with at least 1 row"),
        (lambda X, y: reweight(X, y, steps=1.5), "steps must be 'auto' or at least 0, got 1.5"),
        (lambda X, y: extend(X, y, X[:, 1:], y), "X_pool must have the 5 features of X, got 4"),
        (lambda X, y: extend(X, y, X, y[1:]), r"inconsistent numbers of samples: \[48, 47\]"),
        (lambda X, y: DivaClassifier().fit(X, y, -np.ones(48)), "Negative values in data passed to `sample_weight`"),
        (lambda X, y: DivaClassifier().fit(X, y, np.ones(47)), "sample_weight.shape"),
        (lambda X, y: DivaClassifier().fit(X, y, (y == 1) * 1.0), "rows of positive weight.*, got 1 class"),
        (lambda X, y: DivaClassifier().fit(X, y).predict(X[:, 1:]), "X has 4 features"),
    ],
)
def test_settings_out_of_range_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*blobs())


def test_the_front_door_imports_nothing_of_the_pipeline():
    code = (
        "import sys, diva.estimators; "
        "print([m for m in ('torchvision', 'dvc', 'prefect', 'polars', 'pydantic', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_left_out_predictions_are_in_float64_where_float32_is_not_enough():
    random = np.random.default_rng(0)
    X = random.standard_normal((40, 60)) @ np.diag(np.logspace(0, -5, 60))
    y = np.arange(40) % 3
    exact = DivaClassifier(ridge=1e-6, normalize="none", dtype="float64", device="cpu").fit(X.astype(np.float32), y)
    chosen = DivaClassifier(ridge=1e-6, normalize="none", dtype="float32", device="cpu").fit(X.astype(np.float32), y)
    np.testing.assert_allclose(chosen.leverage_, exact.leverage_, rtol=1e-9)
    np.testing.assert_allclose(chosen.loo_predictions_, exact.loo_predictions_, rtol=1e-6)


def test_the_package_offers_its_estimators_by_name() -> None:
    code = (
        "import sys, diva; assert 'torch' not in sys.modules; assert callable(diva.detect) and 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (diva.detect, diva.DivaClassifier) == (detect, DivaClassifier)
    assert diva.__version__ == importlib.metadata.version("diva-curation")
    with pytest.raises(AttributeError, match="it has DivaClassifier, detect"):
        diva.detekt  # noqa: B018 - asking is the test


@pytest.mark.parametrize(
    "rename", [lambda frame: frame.select(frame.columns[::-1]), lambda frame: frame.rename({"c0": "z"})]
)
def test_a_pool_with_other_columns_is_refused_and_not_read_in_another_order(rename) -> None:
    X, y = blobs()[:2]
    frame = pl.DataFrame(X, schema=[f"c{column}" for column in range(X.shape[1])])
    with pytest.raises(ValueError, match=r"X_pool must have the columns of X in .* got '.*' where X has 'c0'"):
        extend(frame, y, rename(frame), y)
    assert len(extend(frame, y, frame, y).index) == len(extend(X, y, X, y).index)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (pl.Series(["a", None, "b", "a"]), "a label for every row, got none in row 1"),
        (pl.Series([1, 2, None, 1]), "a label for every row, got none in row 2"),
        (np.array([0.0, 1.0, 1.0, np.nan]), "a label for every row, got none in row 3"),
        ([["a"], ["a", "b"], ["b"], ["a"]], r"one label a sample, got \['a', 'b'\] in row 1"),
    ],
)
def test_a_missing_label_or_several_of_a_sample_are_named_by_their_row(labels, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        detect(np.eye(4), labels)


def test_detect_passes_the_second_round_on():
    X, y = blobs(wrong=6)
    found = detect(X, y, second_round=True, **DOUBLE)
    expected = detect_rows(fit_ridge(as_chunks(X, y), 3, 0.3), second_round=True)
    assert relative_error(torch.tensor(found.score), expected.score) < 1e-9
