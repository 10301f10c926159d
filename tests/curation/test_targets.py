import warnings
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import t as student

from diva.curation.additions import RoundSettings
from diva.curation.target_detection import detect_entries, detect_numbers
from diva.curation.target_extend import extend_target_round
from diva.estimators import (
    detect_multilabel,
    detect_regression,
    extend_multilabel,
    extend_regression,
    reweight_multilabel,
    reweight_regression,
    suggest_multilabel,
    suggest_regression,
)
from diva.estimators.targets import read_entries
from diva.numerics.chunks import InMemory
from diva.numerics.leave_one_out import temperatures
from diva.numerics.targets import (
    TargetLoss,
    choose_entry_temperature,
    fit_targets,
    loo_predictions_of_targets,
    mean_squared_residual,
    target_derivative,
)
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")


def targeted(kind="entries", seed=0):
    """A small problem with targets (n, 3) that follow the rows but for some noise."""
    q = problem(seed, condition=20)
    g = torch.Generator().manual_seed(seed + 1)
    y = q.z @ torch.randn(8, 3, generator=g).double() + torch.randn(30, 3, generator=g)
    return q, (y > 0).double() if kind == "entries" else y, InMemory(q.z, torch.zeros(30, dtype=torch.int64), 7)


@pytest.mark.parametrize("kind", ["entries", "squared"])
def test_predictions_equal_those_of_refits(kind):
    q, y, chunks = targeted(kind)
    fitted = fit_targets(chunks, y, q.ridge, q.weights)
    assert relative_error(fitted.model.head, naive.target_head(q.z, y, q.ridge, q.weights)) < 1e-10
    expected = naive.target_predictions_by_refits(q.z, y, q.ridge, q.weights)
    assert relative_error(loo_predictions_of_targets(fitted).values, expected) < 1e-10


@pytest.mark.parametrize(
    ("kind", "trim"), [("entries", False), ("entries", True), ("squared", False), ("squared", True)]
)
def test_the_derivative_equals_automatic_differentiation(kind, trim):
    q, y, chunks = targeted(kind)
    y = y + 9 * (torch.arange(30) == 4)[:, None] if kind == "squared" else y
    fitted = fit_targets(chunks, y, q.ridge, q.weights)
    values, loss = target_derivative(fitted, TargetLoss(kind, 4.0 if kind == "entries" else 1.0, trim))

    def of(alpha):
        return naive.target_loss(q.z, y, q.ridge, alpha, kind, 4.0, trim)

    assert relative_error(values, naive.gradient(of, q.weights)) < 1e-10
    assert loss == pytest.approx(float(of(q.weights)), rel=1e-10)


def test_ridge_and_temperature_are_those_of_least_leave_one_out_loss():
    q, y, chunks = targeted("squared")
    grid = (0.01, 0.3, 5.0, 100.0)
    chosen = fit_targets(chunks, y, None, q.weights, grid)
    errors = {}
    for ridge in grid:
        f = naive.target_predictions_by_refits(q.z, y, ridge, q.weights)
        errors[ridge] = float((q.weights @ (f - y).square().mean(1)) / q.weights.sum())
    assert chosen.model.ridge == min(errors, key=lambda ridge: errors[ridge])
    assert mean_squared_residual(chosen) == pytest.approx(min(errors.values()))
    small = (1e-300, *grid)  # too small a ridge is left out, unless there is no other
    assert fit_targets(InMemory(1e6 * q.z, chunks.labels), y, grid=small).model.ridge in grid
    with pytest.raises(ValueError, match="ridge"):
        fit_targets(InMemory(torch.eye(30).double(), chunks.labels), y, grid=small[:1])
    q, y, chunks = targeted()
    f = naive.target_predictions_by_refits(q.z, y, q.ridge, torch.ones(30).double())
    losses = [torch.nn.functional.binary_cross_entropy(torch.sigmoid(t * (f - 0.5)), y) for t in temperatures()]
    assert choose_entry_temperature(f, y) == float(temperatures()[torch.stack(losses).argmin()])


def test_entries_are_scored_by_their_probability_and_few_flagged():
    q, y, chunks = targeted()
    z = torch.cat([q.z, torch.ones(30, 1)], 1)
    fitted = fit_targets(InMemory(z, chunks.labels, 7), y, q.ridge)
    suspicion = detect_entries(fitted, 5.0)
    f = naive.target_predictions_by_refits(z, y, q.ridge, torch.ones(30).double())
    p = torch.sigmoid(5.0 * (f - 0.5))
    assert relative_error(suspicion.score, 1 - (y * p + (1 - y) * (1 - p))) < 1e-10
    assert torch.equal(suspicion.suggested, f > 0.5)
    assert suspicion.judged.tolist() == [True, True, False]
    confident = sorted(range(60), key=lambda i: -abs(float(f[:, :2].flatten()[i]) - 0.5))[:18]
    wrong = (f > 0.5) != (y > 0.5)
    assert suspicion.rate == pytest.approx(sum(bool(wrong[:, :2].flatten()[i]) for i in confident) / 18)
    assert 0 < suspicion.flagged.sum() <= round(suspicion.rate * 60)
    assert (wrong | ~suspicion.flagged).all()
    assert not suspicion.flagged[:, 2].any()


def test_residuals_are_studentised_by_what_the_middle_says():
    q, y, chunks = targeted("squared")
    y = y[:, :1]
    suspicion = detect_numbers(fit_targets(chunks, y, q.ridge), 0.3)
    hat = q.z @ torch.linalg.solve(q.z.T @ q.z + q.ridge * torch.eye(8).double(), q.z.T)
    h, e = hat.diagonal(), (y - naive.target_predictions_by_refits(q.z, y, q.ridge, torch.ones(30).double()))[:, 0]
    size, freedom = (e * (1 - h).sqrt()).abs(), 30 - float(h.sum()) - 1
    scores = size / (size.median() / student.ppf(0.75, freedom))
    assert relative_error(suspicion.score, scores) < 1e-10
    tails = np.sort(2 * student.sf(scores.numpy(), freedom))
    passing = [i for i in range(30) if tails[i] <= 0.3 * (i + 1) / 30]
    assert int(suspicion.flagged.sum()) == (max(passing) + 1 if passing else 0)


@pytest.fixture
def animals():
    """Rows that tell three labels each, some entries turned round."""
    random = np.random.default_rng(0)
    truth = random.random((300, 3)) < 0.4
    X = np.column_stack([truth @ random.normal(size=(3, 8)) + 0.3 * random.normal(size=(300, 8)), np.ones(300)])
    flipped = random.random(truth.shape) < 0.05
    return X, truth ^ flipped, flipped


def test_labels_are_found_to_be_missing_or_wrong_by_name(animals):
    X, entries, flipped = animals
    names = np.array(["cat", "dog", "eel"])
    lists = [names[row].tolist() for row in entries]
    detection = detect_multilabel(X, lists)
    for Y, separator in ((["|".join(each) for each in lists], "|"), (entries.astype(int), None)):
        other = detect_multilabel(X, Y, separator=separator)
        assert np.array_equal(detection.score, other.score)
    assert detection.names == ("cat", "dog", "eel")
    assert flipped[detection.flagged].mean() > 0.9
    assert detection.flagged[flipped].mean() > 0.8
    words = detection.words()
    assert len(words) == detection.flagged.sum()
    for row, text in words:
        name, finding = text.split(" ", 1)
        given = entries[row, names.tolist().index(name)]
        assert finding == ("is wrong" if given else "is missing")
    assert detection.to_frame().columns == ["row", "finding", "score"]
    weights = reweight_multilabel(X, lists, trim=True)
    assert weights[flipped.any(1)].mean() < weights[~flipped.any(1)].mean()


def test_labels_of_which_the_features_tell_nothing_are_not_judged(animals):
    X, entries, _ = animals
    random = np.random.default_rng(2)
    noise = random.random((300, 2)) < [0.05, 0.5]
    alone = detect_multilabel(X, entries, ridge=1.0)
    assert not alone.message
    with pytest.warns(UserWarning, match=r"labels \(2: 3, 4\) are not judged"):
        beside = detect_multilabel(X, np.column_stack([entries, noise]), ridge=1.0)
    assert "these features cannot tell" in repr(beside)
    assert not beside.flagged[:, 3:].any()
    assert beside.rate == alone.rate
    assert np.array_equal(beside.flagged[:, :3], alone.flagged)
    with pytest.warns(UserWarning, match=r"labels \(2: 0, 1\) are not judged"):
        assert detect_multilabel(X, noise).rate == 0


def test_wrong_numbers_are_found_and_weigh_less():
    random = np.random.default_rng(1)
    X = random.normal(size=(400, 5))
    y = 50 + X @ [3, -2, 1, 0, 0] + random.normal(size=400)
    wrong = random.random(400) < 0.08
    detection = detect_regression(X, np.where(wrong, y + random.choice([-8, 8], 400), y))
    assert detection.flagged[wrong].mean() > 0.9
    assert (~wrong[detection.flagged]).mean() < 0.15
    assert detection.deviation == pytest.approx(1, abs=0.2)
    assert np.abs(detection.expected - y).mean() < 1.2
    clean = detect_regression(X, y)
    assert clean.flagged.sum() <= 2
    shifted = detect_regression(X, 1000 - 7 * y)
    assert np.allclose(shifted.score, clean.score)
    weights = reweight_regression(X, np.where(wrong, y + 8, y))
    assert weights[wrong].mean() < weights[~wrong].mean()


@pytest.mark.parametrize(
    ("function", "Y", "words"),
    [
        (detect_multilabel, np.array([[0, 2], [1, 0], [1, 1]]), "Y must be 0 or 1 in every entry"),
        (detect_multilabel, ["a|b", "a", "b"], "Y must hold a list of labels for each row, got 'a|b' in row 0"),
        (detect_multilabel, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], "Y must name each label of a row once"),
        (detect_multilabel, [[0, 1], [1, 0], [0, 1]], "Y must hold lists of labels, got equally long lists of only 0"),
        (partial(detect_multilabel, separator="|"), ["a|b", None, "a"], "Y must hold a text .* got None in row 1"),
        (partial(detect_multilabel, separator="|"), ["a", "b", np.nan], "Y must hold a text .* got nan in row 2"),
        (detect_multilabel, np.array([[0, 1], [1, np.nan], [1, 0]]), "Y contains NaN in row 1, column 1"),
        (detect_multilabel, [["a", "a "], ["b"], ["c"]], "Y must name each label of a row once, .* in row 0"),
        (detect_regression, [1.0, np.nan, 2.0], "contains NaN in row 1"),
        (detect_regression, [1.0, 2.0, np.inf], "contains infinity in row 2"),
        (
            detect_regression,
            ["1.0", "46,65", "2"],
            "y must hold numbers, got '46,65' in row 1; write decimals",
        ),
        (
            detect_regression,
            np.array(["2024-01-01"] * 3, "M8[D]"),
            "y must hold numbers, got dates; leave",
        ),
        (detect_regression, [[1.0, 2.0]] * 3, r"y must have shape \(n,\)"),
        (detect_regression, [1.0, 2.0], "inconsistent numbers of samples"),
    ],
)
def test_targets_that_mean_nothing_are_refused(function, Y, words):
    with pytest.raises(ValueError, match=words.replace("|", r"\|")):
        function(np.eye(3), Y)


def test_labels_of_texts_and_lists_are_spelt_as_in_a_project():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_entries(["a, b", "a ", "b"], ",")[1] == read_entries([["a ", "b"], ["a"], {" b"}])[1] == ("a", "b")
        pandas = pytest.importorskip("pandas")
        assert read_entries(pandas.DataFrame({"a": [True, False]}))[0].tolist() == [[1.0], [0.0]]
    with pytest.warns(UserWarning, match="Y holds 'A' and 'a', which count as two classes"):
        read_entries([["a"], ["A"]])


def test_what_helps_is_added_and_wrong_targets_are_not(animals):
    X, entries, _ = animals
    names = np.array(["cat", "dog", "eel"])
    random = np.random.default_rng(3)
    turned = random.random(200) < 0.3
    pool = np.where(turned[:, None], 1 - entries[100:], entries[100:]).astype(int)
    added = extend_multilabel(X[:100], entries[:100].astype(int), X[100:], pool, normalize="none")
    assert len(added.index) > 50
    assert turned[added.index].mean() < 0.1
    lists = [names[row > 0].tolist() for row in pool]
    by_name = extend_multilabel(
        X[:100], [names[row].tolist() for row in entries[:100]], X[100:], lists, normalize="none"
    )
    assert np.array_equal(by_name.index, added.index)
    y = X @ np.arange(9.0)
    wrong = random.random(300) < 0.3
    given = y + 40 * wrong * (np.arange(300) >= 100)
    numbers = extend_regression(X[:100], given[:100], X[100:], given[100:])
    assert len(numbers.index) > 30
    assert not wrong[100:][numbers.index].any()
    limited = extend_regression(X[:100], given[:100], X[100:], given[100:], budget=7, per_round=3)
    assert [step.added for step in limited.history] == [3, 3, 1]
    assert extend_regression(X[:100], y[:100], X[:0], []).stop == "the pool is empty"


def test_rounds_choose_by_the_derivative_of_refits(animals):
    X, entries, _ = animals
    Y = torch.from_numpy(entries[:40].astype(float))
    fitted = fit_targets(InMemory(torch.from_numpy(X[:40]), torch.zeros(40, dtype=torch.int64)), Y[:40], 1.0)
    pool, offered = torch.from_numpy(X[40:60]), torch.from_numpy(entries[40:60].astype(float))
    turn = extend_target_round(
        fitted,
        InMemory(pool, torch.zeros(20, dtype=torch.int64)),
        offered,
        TargetLoss("entries", 3.0),
        RoundSettings(5),
    )
    z, y = torch.from_numpy(X[:60]), torch.cat([Y, offered])
    alpha = torch.cat([torch.ones(40), torch.zeros(20)]).double()
    slope = naive.gradient(lambda a: naive.target_loss(z, y, 1.0, a, "entries", 3.0, False), alpha)[40:]
    inverse = torch.linalg.inv(z[:40].T @ z[:40] + torch.eye(9).double())
    gain = slope / (1 + (pool @ inverse * pool).sum(1))
    assert relative_error(turn.derivative, slope) < 1e-9
    assert turn.index.tolist() == [row for row in gain.argsort().tolist() if gain[row] < 0][:5]


def test_what_to_label_next_is_what_lessens_the_uncertainty_most(animals):
    X, entries, _ = animals
    Y = [[name for name, given in zip("abc", row, strict=True) if given] for row in entries[:60]]
    asked = suggest_multilabel(X[:60], Y, X[60:], budget=8, ridge=1.0, normalize="none")
    said = {row: set(names) for row, names in zip(asked.index.tolist(), asked.suggested, strict=True)}
    truth = {row: {name for name, given in zip("abc", entries[60 + row], strict=True) if given} for row in said}
    assert sum(said[row] == truth[row] for row in said) >= 4
    assert asked.to_frame()["suggested"].dtype == pl.List(pl.String)
    assert (np.diff(asked.expected) < 0).all()
    y = X @ np.arange(9.0)
    numbers = suggest_regression(X[:60], y[:60], X[60:], budget=5, groups_pool=np.arange(240) // 2, ridge=1e-3)
    assert np.abs(numbers.suggested - y[60:][numbers.index]).max() < 0.1
    assert len(set(numbers.index // 2)) == 5
    z = np.column_stack([(X - X[:60].mean(0)) / np.where(X[:60].std(0) > 0, X[:60].std(0), 1), np.ones(300)])
    inverse = np.linalg.inv(z[:60].T @ z[:60] + 1e-3 * np.eye(10))
    fall = ((z[60:] @ inverse @ z[60:].T) ** 2).sum(0) / (1 + np.einsum("ij,jk,ik->i", z[60:], inverse, z[60:]))
    assert numbers.index[0] == fall.argmax()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: extend_multilabel(np.eye(4), ["a", "b", "a", "b"], np.eye(4), ["a", "c", "a", "b"], separator="|"),
            r"Y_pool must hold only the 2 labels of Y, got \['c'\]",
        ),
        (
            lambda: extend_multilabel(np.eye(4), np.eye(4)[:, :2], np.eye(4), np.eye(4)),
            "Y_pool must hold only the 2 labels",
        ),
        (
            lambda: extend_regression(np.eye(4), [1, 2, 3, 4], np.eye(3), [1, 2, 3]),
            "X_pool must have the 4 features of X",
        ),
        (lambda: extend_regression(np.eye(4), [1, 2, 3, 4], np.eye(4), [1, 2, 3]), "inconsistent numbers of samples"),
        (
            lambda: extend_regression(np.eye(4), [1, 2, 3, 4], np.eye(4), [1, 2, 3, np.nan]),
            "y_pool contains NaN in row 3",
        ),
        (
            lambda: extend_regression(np.eye(4), [1, 2, 3, 4], np.eye(4), [1, 2, 3, 4], loss="hard_margin"),
            "loss must be one of",
        ),
        (
            lambda: extend_regression(np.eye(4), [1, 2, 3, 4], np.eye(4), [1, 2, 3, 4], budget=9),
            "budget must lie in 0..4",
        ),
        (
            lambda: extend_regression(np.eye(4), [1, 2, 3, 4], np.eye(4), [1, 2, 3, 4], per_round="10%"),
            "a tenth is 0.1",
        ),
        (
            lambda: detect_regression(np.eye(4), [1, 2, 3, 4], false_discoveries="0.1"),
            r"must lie in \(0, 1\), got '0.1'",
        ),
        (lambda: suggest_regression(np.eye(4), [1, 2, 3, 4], np.eye(4), budget=2, rule="badge"), "rule must be one of"),
        (lambda: suggest_multilabel(np.eye(4), np.eye(4), np.eye(4), budget=2, rule="entropy"), "rule must be one of"),
        (lambda: suggest_multilabel(np.eye(4), np.eye(4), np.eye(4)[:0], budget=2), "X_pool must have shape"),
    ],
)
def test_pools_that_do_not_fit_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
