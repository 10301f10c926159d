import pytest
import torch

from diva.curation import relatives as module
from diva.curation.relatives import Relatives, candidate_groups, relatives
from diva.numerics.chunks import InMemory
from diva.numerics.normalize import Prepared
from diva.numerics.ridge import moments, solve


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
    return relatives(chunks, solve(moments(chunks, 3), 0.1))


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
    assert not Relatives(groups, 20, 0.3, 0.0, 0.1, 2).belong
    assert Relatives(groups, 200, 0.3, 0.0, 0.1, 20).belong


def test_fewer_than_three_rows_have_no_relatives():
    x, labels, _ = views(2, 1)
    assert candidate_groups(Prepared(InMemory(x, labels, 5))).tolist() == [-1, -1]
