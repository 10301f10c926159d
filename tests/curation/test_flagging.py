"""How many labels are called wrong, and where nothing is."""

import pytest
import torch

from diva.curation import flagging
from diva.curation.detect import detect
from diva.curation.flagging import Predictions, error_rate, flag_by_class, judged_rows, more_often_right, near_chance
from diva.numerics.chunks import InMemory
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge
from tests import naive


def drawn(seed, n=400, classes=5, wrong=0.1, one_class=0.0):
    """Predictions that are right, labels of which a share is wrong, evenly or among those predicted 0."""
    g = torch.Generator().manual_seed(seed)
    predicted = torch.randint(classes, (n,), generator=g)
    share = wrong + one_class * (predicted == 0)
    bad = torch.rand(n, generator=g) < share
    given = torch.where(bad, (predicted + torch.randint(1, classes, (n,), generator=g)) % classes, predicted)
    confidence = torch.rand(n, generator=g, dtype=torch.float64)
    scores = bad + torch.rand(n, generator=g, dtype=torch.float64)
    return scores, given, Predictions(predicted, confidence), bad


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [{"wrong": 0.2}, {"wrong": 0.0, "one_class": 0.5}, {"wrong": 0.05, "one_class": 0.3}])
def test_the_rule_is_what_sorting_lists_gives(seed, noise):
    scores, given, seen, _ = drawn(seed, **noise)
    expected = naive.flagged_by_class(*(x.tolist() for x in (scores, given, seen.predicted, seen.confidence)), 5)
    assert flag_by_class(scores, given, seen, seen, 5).flagged.nonzero()[:, 0].tolist() == expected


def test_noise_that_sits_in_one_class_is_flagged():
    scores, given, seen, bad = drawn(0, wrong=0.0, one_class=0.4)
    flagged = flag_by_class(scores, given, seen, seen, 5).flagged
    assert (flagged & bad).sum() >= 0.7 * bad.sum()
    assert not (flagged & ~bad).any()


def test_a_rate_has_at_least_fifty_rows_behind_it():
    disagrees, confidence = torch.zeros(60, dtype=torch.bool), torch.arange(60, 0, -1).double()
    disagrees[45:50] = True  # the 18 most confident agree
    assert error_rate(disagrees, confidence) == pytest.approx(5 / 50, abs=0.1)
    disagrees = torch.arange(60) % 10 == 5
    assert error_rate(disagrees, confidence) == 5 / 50
    assert error_rate(disagrees[:40], confidence[:40]) == 4 / 40


def test_rows_that_fill_up_the_fifty_do_not_count_where_doubt_explains_their_errors():
    confidence = torch.arange(60, 0, -1).double()
    disagrees = torch.arange(60) >= 35  # all errors are among the least confident
    assert error_rate(disagrees, confidence) == 0


def test_labels_drawn_at_random_are_not_judged():
    g = torch.Generator().manual_seed(0)
    given, predicted = torch.randint(4, (300,), generator=g), torch.randint(4, (300,), generator=g)
    assert "these features cannot tell" in near_chance(predicted, given, 4)
    assert near_chance(given, given, 4) == ""
    seen = Predictions(predicted, torch.rand(300, generator=g))
    flags = flag_by_class(torch.rand(300, generator=g), given, seen, seen, 4)
    assert not flags.flagged.any()
    assert flags.rate == 0


def test_no_label_is_called_wrong_where_most_would_be():
    scores, given, seen, _ = drawn(0, wrong=0.7)
    flags = flag_by_class(scores, given, seen, seen, 5)
    assert not flags.flagged.any()
    assert "either most labels are wrong or these features cannot tell" in flags.message


def test_few_wrong_labels_of_a_rare_class_are_judged_although_the_largest_class_alone_errs_little():
    given = torch.cat([torch.zeros(950), torch.ones(50)]).long()
    wrong = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:200]
    noisy = given.clone()
    noisy[wrong] = 1 - noisy[wrong]
    assert near_chance(given, noisy, 2) == ""


def test_the_predictor_that_is_significantly_more_often_right_judges():
    right = torch.arange(100) < 80
    assert more_often_right(right, torch.arange(100) < 60)
    assert not more_often_right(right, torch.arange(100) < 78)
    assert not more_often_right(torch.arange(100) < 60, right)


def test_a_class_of_one_sample_is_not_judged():
    assert judged_rows(torch.tensor([0, 0, 1, 2, 2]), 3).tolist() == [True, True, False, True, True]
    seen = Predictions(torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
    assert "every class has one sample" in flag_by_class(torch.ones(2), torch.tensor([0, 1]), seen, seen, 2).message


def test_a_class_that_lies_in_one_group_says_nothing_of_the_others():
    scores, given, seen, _ = drawn(1, wrong=0.1)
    inside = given == 2
    groups = torch.where(inside, 0, torch.arange(len(given)) + 1)
    flags = flag_by_class(torch.where(inside, 9.0, scores), given, seen, seen, 5, groups)
    rest = Predictions(seen.predicted[~inside], seen.confidence[~inside])
    others = flag_by_class(scores[~inside], given[~inside], rest, rest, 5)
    assert flags.rate == others.rate
    assert torch.equal(flags.flagged[~inside], others.flagged)
    assert not flags.flagged[inside].any()


def clusters(classes, size, separation, seed, p=20):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(size)
    centres = separation * torch.randn(classes, p, generator=g)
    return centres[labels] + torch.randn(len(labels), p, generator=g), labels, g


def detected(X, labels, classes, **options):
    return detect(fit_ridge(Prepared(InMemory(X, labels, 1024)), classes, 0.1), **options)


@pytest.mark.parametrize(("classes", "size", "separation"), [(50, 2, 2.0), (200, 2, 4.0), (50, 3, 2.0)])
def test_clean_clusters_of_two_or_three_samples_are_left_alone(classes, size, separation):
    X, labels, _ = clusters(classes, size, separation, 0)
    assert detected(X, labels, classes).flagged.double().mean() <= 0.02
    if size == 2:
        assert detected(X, labels, classes, by_class=False).flagged.double().mean() > 0.3


@pytest.mark.parametrize(("classes", "size", "p"), [(300, 20, 32), (500, 8, 32), (200, 20, 12)])
def test_of_many_classes_of_few_rows_about_the_planted_share_is_flagged(classes, size, p):
    X, truth, g = clusters(classes, size, 4.0, 0, p)
    wrong = torch.rand(len(truth), generator=g) < 0.1
    labels = torch.where(wrong, (truth + torch.randint(1, classes, truth.shape, generator=g)) % classes, truth)
    flagged = detected(X, labels, classes).flagged
    assert 0.5 <= flagged.sum() / wrong.sum() <= 2
    assert (flagged & wrong).sum() / flagged.sum() > 0.8


def test_outputs_of_minus_infinity_are_never_the_largest():
    seen = flagging.predictions(torch.tensor([[-torch.inf, 1.0, 0.5], [-torch.inf, -torch.inf, 2.0]]))
    assert seen.predicted.tolist() == [1, 2]
    assert seen.confidence.tolist() == [0.5, torch.inf]
