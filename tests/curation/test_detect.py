import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from diva.curation.detect import Judgement, detect, error_rate, flag, judge
from diva.numerics.chunks import InMemory
from diva.numerics.grid import choose_ridge
from diva.numerics.leave_one_out import temperatures
from diva.numerics.losses import THRESHOLD, Loss, margins
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")


def ones(n):
    return torch.ones(n, dtype=torch.float64)


def softness(predictions, labels, temperature):
    return 1 - torch.softmax(temperature * predictions, 1)[torch.arange(len(labels)), labels]


def by_loops(predictions, labels):
    """m by its definition: own output less the best other one."""
    rows = [(row.tolist(), int(label)) for row, label in zip(predictions, labels, strict=True)]
    return torch.tensor([row[y] - max(row[:y] + row[y + 1 :]) for row, y in rows], dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_soft_and_margin_scores_come_from_the_refits(seed):
    q = problem(seed)
    f = naive.loo_predictions_by_refits(q.z, q.labels, q.classes, q.ridge, ones(30))
    soft, margin = (detect(q.fit(q.chunks()), score=score) for score in ("soft", "margin"))
    assert soft.temperature == naive.temperature(q.z, q.labels, q.classes, q.ridge, ones(30), temperatures())
    assert relative_error(soft.score, softness(f, q.labels, soft.temperature)) < 1e-9
    assert relative_error(soft.margin, by_loops(f, q.labels)) < 1e-10
    assert torch.equal(margin.score, -margin.margin)
    assert torch.equal(soft.suggested, f.argmax(1))


@pytest.mark.parametrize("arguments", [{"score": "derivative"}, {"rule": "derivative"}, {"with_derivative": True}])
def test_derivative_score_is_the_gradient_of_the_loss_all(arguments):
    q = problem(1)
    found = detect(q.fit(q.chunks()), **arguments)
    expected = naive.gradient(lambda a: naive.loss(q.z, q.labels, q.classes, q.ridge, a, Loss("all")), ones(30))
    assert relative_error(found.derivative, expected) < 1e-10
    if "score" in arguments:
        assert torch.equal(found.score, found.derivative)


def test_derivative_that_nobody_asked_for_is_not_computed():
    q = problem()
    assert detect(q.fit(q.chunks())).derivative.isnan().all()


def test_chunk_size_changes_nothing():
    q = problem()
    whole, parts = (detect(q.fit(q.chunks(size))) for size in (30, 4))
    assert relative_error(parts.score, whole.score) < 1e-11
    assert torch.equal(parts.flagged, whole.flagged)


def test_permuting_the_rows_permutes_the_scores():
    q = problem()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    plain = detect(q.fit(q.chunks()))
    permuted = detect(q.fit(InMemory(q.z[order], q.labels[order], 7)))
    assert relative_error(permuted.score, plain.score[order]) < 1e-10


def judgement(confidence, predicted, given, soft):
    size = len(given)
    return Judgement(
        torch.zeros(size), torch.tensor(soft), torch.tensor(confidence), torch.tensor(predicted), torch.tensor(given)
    )


def test_rate_is_the_disagreement_among_the_most_confident():
    # 10 rows, the 3 most confident are rows 0, 4, 9; of them row 4 disagrees: the rate is a third.
    seen = judgement(
        confidence=[0.9, 0.1, 0.2, 0.3, 0.8, 0.1, 0.2, 0.3, 0.4, 0.95],
        predicted=[0, 1, 0, 1, 1, 0, 1, 0, 1, 1],
        given=[0, 0, 0, 1, 0, 1, 0, 0, 1, 1],
        soft=[0.1, 0.6, 0.5, 0.1, 0.9, 0.7, 0.65, 0.2, 0.1, 0.0],
    )
    rate = error_rate(seen)
    assert rate == pytest.approx(1 / 3)
    flagged = flag("rate", seen.soft, seen, torch.zeros(10), rate)
    assert flagged.nonzero()[:, 0].tolist() == [4, 5, 6]  # 10 / 3 rounds to 3 highest, all mispredicted


def test_rate_flags_no_row_that_is_predicted_right():
    seen = judgement(
        confidence=[0.9, 0.8, 0.1, 0.1], predicted=[1, 0, 0, 1], given=[0, 0, 0, 0], soft=[0.5, 0.9, 0.8, 0.1]
    )
    assert error_rate(seen) == 1.0  # of one row: 30 % of 4
    assert flag("rate", seen.soft, seen, torch.zeros(4), 0.5).sum() == 0  # the two highest are predicted right
    assert flag("rate", seen.soft, seen, torch.zeros(4), 1.0).tolist() == [True, False, False, True]


def test_rules_of_margin_and_derivative_are_thresholds():
    q = problem(2)
    by_margin = detect(q.fit(q.chunks()), rule="margin")
    assert torch.equal(by_margin.flagged, by_margin.margin <= -THRESHOLD)
    by_derivative = detect(q.fit(q.chunks()), rule="derivative")
    assert torch.equal(by_derivative.flagged, by_derivative.derivative > 0)


@pytest.mark.parametrize("seed", range(3))
def test_second_round_is_a_refit_without_the_hopeless_rows(seed):
    q = problem(seed)
    f = naive.loo_predictions_by_refits(q.z, q.labels, q.classes, q.ridge, ones(30))
    kept = margins(f, q.labels) > -THRESHOLD
    assert 0 < kept.sum() < 30
    z, labels = q.z[kept], q.labels[kept]
    expected = q.z @ naive.head(z, labels, q.classes, q.ridge, ones(len(z)))
    expected[kept] = naive.loo_predictions_by_refits(z, labels, q.classes, q.ridge, ones(len(z)))
    found = detect(q.fit(q.chunks()), second_round=True)
    assert found.temperature == naive.temperature(z, labels, q.classes, q.ridge, ones(len(z)), temperatures())
    assert relative_error(found.margin, by_loops(expected, q.labels)) < 1e-10
    assert relative_error(found.score, softness(expected, q.labels, found.temperature)) < 1e-9


def test_judge_takes_the_plain_prediction_of_rows_of_weight_zero():
    q = problem()
    fitted = q.fit(q.chunks(), q.weights)
    seen = judge(fitted, 5.0)
    absent = q.weights == 0
    assert relative_error(seen.margin[absent], by_loops((q.z @ fitted.model.head)[absent], q.labels[absent])) < 1e-10


@pytest.mark.parametrize("rule", ["rate", "margin"])
def test_clean_separable_data_flags_nothing(rule):
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    z = torch.eye(3, dtype=torch.float64)[labels] + 0.05 * torch.randn(90, 3, generator=g, dtype=torch.float64)
    found = detect(fit_ridge(InMemory(z, labels, 16), 3, 0.1), rule=rule)
    assert found.flagged.sum() == 0
    assert torch.equal(found.suggested, labels)
    assert found.rate == 0


@pytest.fixture(scope="module")
def planted():
    """Digits' pixels, a fifth of the labels changed to another class."""
    pixels, targets = load_digits(return_X_y=True)
    labels = torch.as_tensor(targets[:1000]).long()
    g = torch.Generator().manual_seed(0)
    wrong = torch.randperm(1000, generator=g)[:200]
    changed = labels.clone()
    changed[wrong] = (labels[wrong] + torch.randint(1, 10, (200,), generator=g)) % 10
    chunks = Prepared(InMemory(pixels[:1000], changed, 256))
    return chunks, changed != labels, labels


@pytest.mark.parametrize("arguments", [{}, {"score": "margin"}, {"score": "derivative"}, {"second_round": True}])
def test_planted_wrong_labels_rank_highest(planted, arguments):
    chunks, wrong, _ = planted
    found = detect(fit_ridge(chunks, 10, choose_ridge(chunks, 10).ridge), **arguments)
    assert roc_auc_score(wrong, found.score) > 0.95


def test_rate_rule_finds_the_planted_labels_and_their_number(planted):
    chunks, wrong, truth = planted
    found = detect(fit_ridge(chunks, 10, choose_ridge(chunks, 10).ridge))
    hit = (found.flagged & wrong).sum().item()
    assert hit / found.flagged.sum().item() > 0.9
    assert hit / 200 > 0.8
    assert found.rate == pytest.approx(0.2, abs=0.05)
    assert (found.suggested == truth)[found.flagged & wrong].double().mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score": "loss"}, "score must be one of soft, margin, derivative, got 'loss'"),
        ({"rule": "top"}, "rule must be one of rate, margin, derivative, got 'top'"),
        ({"score": torch.zeros(29)}, r"score must have one value per row \(30,\), got \(29,\)"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, message):
    q = problem()
    with pytest.raises(ValueError, match=message):
        detect(q.fit(q.chunks()), **arguments)


def test_one_class_is_refused():
    q = problem()
    with pytest.raises(ValueError, match="classes must be at least 2, got 1"):
        detect(fit_ridge(InMemory(q.z, torch.zeros(30).long()), 1, q.ridge))


def test_rows_of_a_group_are_judged_without_it():
    q = problem(2)
    groups = torch.arange(30) % 8
    judgement = judge(fit_ridge(q.chunks(), q.classes, q.ridge, groups=groups), 9.0)
    f = naive.group_predictions_by_refits(q.z, q.labels, q.classes, q.ridge, torch.ones(30).double(), groups)
    assert torch.allclose(judgement.margin, margins(f, q.labels))
    assert torch.equal(judgement.predicted, f.argmax(1))
    assert torch.equal(judgement.given, q.labels)
