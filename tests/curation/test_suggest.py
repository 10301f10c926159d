import pytest
import torch

from diva.curation import acquisition
from diva.curation.suggest import suggest
from diva.methods import registry
from diva.methods.names import RULES, names
from diva.numerics.chunks import InMemory, Subset
from diva.numerics.expected_variance import probabilities
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")

CORE, POOL = slice(0, 24), slice(24, 60)
EACH_RULE = pytest.mark.parametrize("rule", names(RULES))


def halves(seed=0):
    """24 rows that are labelled, with their model, and a pool of 36."""
    q = problem(seed, n=60, classes=3, condition=20)
    return q, q.fit(q.part(CORE)), q.part(POOL, 5)


@pytest.mark.parametrize(("most", "block"), [(8192, 64), (9, 4), (1, 1)])
def test_choices_gains_and_variances_equal_those_of_refits(monkeypatch, most, block):
    monkeypatch.setattr(acquisition, "MOST", most)
    monkeypatch.setattr(acquisition, "BLOCK", block)
    q, core, pool = halves(1)
    p = probabilities(q.z[POOL] @ naive.head(q.z[CORE], q.labels[CORE], 3, q.ridge, torch.ones(24).double()), 8.0)
    best = p.topk(2, 1).values
    u = 1 - best[:, 0] + best[:, 1]
    suggestion = suggest(core, pool, budget=12, temperature=8.0)
    twin = naive.suggested(q.z[CORE], q.z[POOL], u, q.ridge, 12)
    assert suggestion.index.tolist() == [j for j, _ in twin]
    before = naive.expected_variance(q.z[CORE], q.z[POOL], u, q.ridge)
    history = torch.tensor([before, *(value for _, value in twin)], dtype=torch.float64)
    assert relative_error(suggestion.history, history) < 1e-9
    assert relative_error(suggestion.expected, history[1:]) < 1e-9
    assert relative_error(suggestion.gain, -history.diff()) < 1e-9
    assert relative_error(suggestion.probability, best[suggestion.index, 0]) < 1e-9
    assert torch.equal(suggestion.label, p.argmax(1)[suggestion.index])


def test_every_rule_has_a_function_and_a_paper():
    assert set(names(RULES)) == acquisition.RULES.keys()
    with pytest.raises(ValueError, match=r"rule must be one of .*did you mean entropy"):
        registry.suggest("entropie", None, halves()[2], budget=1)


@EACH_RULE
def test_rules_choose_each_row_once_within_limits_and_alike_every_time(rule):
    _, core, pool = halves(2)
    whole = suggest(core, pool, budget=36, rule=rule)
    assert sorted(whole.index.tolist()) == list(range(36))
    assert whole.rule == rule
    assert not whole.message
    again = suggest(core, pool, budget=20, rule=rule)
    assert rule == "typiclust" or torch.equal(again.index, whole.index[:20])
    groups = torch.arange(36) // 3
    limited = suggest(core, pool, budget=36, rule=rule, groups=groups, per_class=3)
    assert limited.message == f"{len(limited.index)} of 36 chosen: the limits allow no more"
    assert groups[limited.index].bincount().max() == 1
    assert limited.label.bincount().max() == 3
    loose = suggest(core, pool, budget=30, rule=rule, groups=groups.where(groups > 2, -1), per_group=2)
    counts = groups[loose.index].bincount()
    assert counts.max() <= 3
    assert counts[3:].max() == 2
    sparse = (groups * 10**12).where(groups > 2, -groups - 1)
    assert torch.equal(suggest(core, pool, budget=30, rule=rule, groups=sparse, per_group=2).index, loose.index)


@EACH_RULE
def test_without_labels_typical_rows_come_first_and_the_result_says_so(rule):
    q, _, pool = halves(3)
    unlabelled = suggest(None, pool, budget=6, rule=rule)
    asked = rule in ("typiclust", "uniform")
    assert unlabelled.rule == (rule if asked else "typiclust")
    assert ("nothing is labelled yet" in unlabelled.message) != asked
    assert (unlabelled.label == -1).all()
    assert unlabelled.probability.isnan().all()
    seen = q.labels[CORE].clone()
    rare = Subset(InMemory(q.z[CORE], seen), (seen != 2) | (torch.arange(24) == int((seen == 2).nonzero()[0])))
    lonely = suggest(q.fit(rare), pool, budget=6, rule=rule)
    assert lonely.rule == unlabelled.rule
    assert ("1 of the 3 classes seen have fewer than 2 labels" in lonely.message) != asked
    assert (lonely.label >= 0).all()


@pytest.mark.parametrize("rule", ["badge", "k_center", "typiclust"])
def test_a_rule_that_sees_a_sample_says_so_where_it_has_no_more(rule, monkeypatch):
    monkeypatch.setattr(acquisition, "MOST", 20)
    _, core, pool = halves(2)
    most = suggest(core, pool, budget=36, rule=rule)
    assert len(most.index) == 20
    assert most.message.startswith(f"20 of 36 chosen: {rule} looks at 20 rows drawn from the pool")


def test_typical_rows_are_of_different_clusters():
    g = torch.Generator().manual_seed(0)
    z = torch.cat([torch.randn(20, 4, generator=g) + 30 * torch.eye(4)[c] for c in range(4)]).double()
    suggestion = suggest(None, InMemory(z, torch.zeros(80, dtype=torch.int64)), budget=4)
    assert sorted((suggestion.index // 20).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"budget": 37}, "budget must lie in 0..36"),
        ({"budget": 3, "rule": "best"}, "rule must be one of expected_variance"),
        ({"budget": 3, "per_class": 0}, "per_class must be at least 1, got 0"),
        ({"budget": 3, "per_group": 0}, "per_group must be at least 1, got 0"),
        ({"budget": 3, "groups": torch.zeros(2)}, r"groups must have one entry per row \(36,\)"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, words):
    _, core, pool = halves()
    with pytest.raises(ValueError, match=words):
        suggest(core, pool, **arguments)


def test_an_empty_budget_or_pool_chooses_nothing():
    q, core, pool = halves()
    for rows in (pool, q.part(slice(60, None))):
        assert len(suggest(core, rows, budget=0).index) == 0
