from dataclasses import replace

import pytest
import torch

from diva.curation import relatives as module
from diva.curation.relatives import (
    Relatives,
    candidate_groups,
    group_relatives,
    ratio,
    relatives,
    usable_groups,
)
from diva.numerics.chunks import InMemory
from diva.numerics.groups import undivided_classes
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge


def views(images=60, each=3, jitter=0.02, wrong=0.3, seed=0):
    """Rows (n, 40) of three classes, ``each`` of an image close to each other, wrong labels shared by them."""
    g = torch.Generator().manual_seed(seed)
    truth = torch.arange(images) % 3
    centres, rest = torch.randn(3, 40, generator=g), torch.randn(images, 40, generator=g)
    image = (1.5 * centres[truth] + rest).repeat_interleave(each, 0)
    x = image + jitter * torch.randn(len(image), 40, generator=g)
    labels = torch.where(torch.rand(images, generator=g) < wrong, (truth + 1) % 3, truth).repeat_interleave(each)
    order = torch.randperm(len(x), generator=g)
    return x[order], labels[order], (torch.arange(images).repeat_interleave(each))[order]


def asked(x, labels, chunk_size=50):
    chunks = Prepared(InMemory(x, labels, chunk_size))
    return relatives(fit_ridge(chunks, 3, 0.1))


def naive_groups(x):
    """The rule by its words: all distances, sorted, and a search through the graph."""
    x = x / x.norm(dim=1, keepdim=True)
    x = x - x.mean(0)
    x = x / x.norm(dim=1, keepdim=True)
    apart = 1 - x @ x.T
    n = len(x)
    tenth = [sorted(float(apart[i, j]) for j in range(n) if j != i)[9] for i in range(n)]
    groups = list(range(n))
    for i in range(n):
        for j in range(n):
            if i != j and float(apart[i, j]) < 0.4 * min(tenth[i], tenth[j]) and groups[i] != groups[j]:
                old, new = groups[i], groups[j]
                groups = [new if group == old else group for group in groups]
    return groups


def partition(groups):
    """Sets of rows that share a group."""
    codes = torch.where(groups < 0, 10**6 + torch.arange(len(groups)), groups)
    return {frozenset((codes == code).nonzero()[:, 0].tolist()) for code in codes.unique()}


@pytest.mark.parametrize("chunk_size", [7, 1000])
@pytest.mark.parametrize("jitter", [0.02, 0.5])
def test_candidate_groups_are_those_of_the_rule_by_its_words(jitter, chunk_size):
    x, labels, _ = views(20, jitter=jitter)
    assert partition(candidate_groups(Prepared(InMemory(x, labels, chunk_size)))) == partition(
        torch.tensor(naive_groups(x))
    )


def test_views_of_one_image_are_relatives_and_belong_together():
    x, labels, images = views()
    found = asked(x, labels)
    assert partition(found.groups) == partition(images)
    assert found.belong
    assert found.related == 1
    assert found.compared == 180
    assert found.together - found.plain == pytest.approx(found.gap)


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_are_independent_do_not_belong_together(seed):
    x, labels, _ = views(180, 1, seed=seed)
    assert not asked(x, labels).belong


def test_a_sample_finds_what_all_rows_find(monkeypatch):
    x, labels, images = views(300)
    whole = asked(x, labels)
    monkeypatch.setattr(module, "EXACT", 100)
    monkeypatch.setattr(module, "SAMPLE", 200)
    assert asked(x, labels) is not None
    assert partition(asked(x, labels).groups) == partition(whole.groups) == partition(images)  # it fires: all rows then
    monkeypatch.setattr(module, "SEARCHED", 100)
    sampled = asked(x, labels)
    assert sampled.compared == 200
    assert sampled.belong
    assert sampled.gap == pytest.approx(whole.gap, abs=0.1)


def test_a_rise_that_chance_may_bring_is_none():
    groups = torch.full((20,), -1)
    assert not Relatives(groups, 20, 20, 0.3, 0.0, 0.1, 2).belong
    assert Relatives(groups, 200, 200, 0.3, 0.0, 0.1, 20).belong
    assert not Relatives(groups, 90, 90, 1.0, 0.1, 0.9, 90).belong


def test_fewer_than_three_rows_have_no_relatives():
    x, labels, _ = views(2, 1)
    assert candidate_groups(Prepared(InMemory(x, labels, 5))).tolist() == [-1, -1]


def test_a_row_of_weight_zero_is_as_good_as_absent():
    x, labels, _ = views()
    weights = (torch.arange(180) % 4 > 0).double()
    present = weights > 0
    whole = relatives(fit_ridge(Prepared(InMemory(x, labels)), 3, 0.1, weights))
    fewer = relatives(fit_ridge(Prepared(InMemory(x[present], labels[present])), 3, 0.1))
    assert partition(whole.groups[present]) == partition(fewer.groups)
    assert (whole.groups[~present] == -1).all()
    assert (whole.plain, whole.together, whole.compared) == (fewer.plain, fewer.together, fewer.compared)


def test_a_group_that_holds_most_of_a_class_is_left_out_row_by_row():
    groups, labels = torch.tensor([0, 0, 1, 1, -1, 2, 2]), torch.tensor([0, 0, 1, 1, 1, 1, 2])
    assert undivided_classes(groups, labels) == [0]
    assert usable_groups(groups, labels).tolist() == [-1, -1, 1, 1, -1, 2, 2]
    assert usable_groups(groups, torch.tensor([0, 0, 1, 1, 1, 2, 2])).tolist() == [-1, -1, -1, -1, -1, -1, -1]


def test_separable_classes_of_few_rows_are_no_groups():
    """1,000 rows of 125 classes of 8, a tenth of the labels wrong: each class lies by itself, and none is a group."""
    g = torch.Generator().manual_seed(0)
    truth = torch.arange(1000) % 125
    x = torch.randn(125, 64, generator=g)[truth] + 0.1 * torch.randn(1000, 64, generator=g)
    labels = torch.where(torch.rand(1000, generator=g) < 0.1, (truth + 7) % 125, truth)
    chunks = Prepared(InMemory(x, labels))
    assert (candidate_groups(chunks) >= 0).double().mean() > 0.9
    found = relatives(fit_ridge(chunks, 125, 0.1))
    assert not found.belong
    assert (found.groups >= 0).double().mean() < 0.1


@pytest.mark.parametrize("p", [2, 3, 5])
def test_rows_scattered_in_few_dimensions_have_few_relatives(p):
    x = torch.randn(200, p, generator=torch.Generator().manual_seed(p))
    groups = candidate_groups(Prepared(InMemory(x, torch.zeros(200).long()), "none"))
    assert (groups >= 0).double().mean() < 0.7
    assert ratio(p) < ratio(13) == pytest.approx(0.4, abs=0.01)
    assert ratio(1280) == 0.4


def test_the_mode_says_whether_relatives_are_asked_and_left_out():
    x, labels, images = views()
    fitted = fit_ridge(Prepared(InMemory(x, labels)), 3, 0.1)

    def refit(groups):
        return replace(fitted, groups=groups)

    assert group_relatives(fitted, "never", refit) == (fitted, None)
    for mode in ("auto", "always"):
        assert partition(group_relatives(fitted, mode, refit)[0].groups) == partition(images)
    with pytest.raises(ValueError, match="group must be one of auto, never, always, got 'no'"):
        group_relatives(fitted, "no", refit)
