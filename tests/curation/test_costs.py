import itertools
from pathlib import Path

import pytest
import yaml

from diva.curation import costs
from diva.curation.costs import Law, Sizes

VALUES = yaml.safe_load(Path("params.yaml").read_text())
SIZES = Sizes(core=1000, pool=3000, test=200, rounds=3)
NOTHING = Law(((1, 0.0),))


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (Law(((250, 9.0), (500, 3.0), (1000, 4.0))), lambda n: 2 + n / 500),
        (Law(((500, 2.0), (1000, 8.0)), power=True), lambda n: 8e-6 * n**2),
        (Law(((500, 2.0),)), lambda n: n / 250),
    ],
)
def test_a_law_goes_on_as_its_last_points_do(law, expected):
    assert [law(n) for n in (2000, 40_000)] == pytest.approx([expected(n) for n in (2000, 40_000)])


def test_work_is_measured_on_ever_more_rows_until_it_takes_long(monkeypatch):
    clock, sizes = itertools.count(), []
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(clock) / 100)  # each work takes a hundredth
    costs.law(sizes.append, 1000)
    costs.law(sizes.append, 6)
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(clock))
    costs.law(sizes.append, 10_000)
    assert sizes == [250, 500, 1000, 6, 312, 624]


def test_learners_are_asked_once_a_set_and_take_no_more_than_their_rows():
    laws = dict.fromkeys(("head", "derivatives", "knn"), NOTHING) | dict.fromkeys(("logistic", "svm", "mlp"), NOTHING)
    values = VALUES | {"evaluate": VALUES["evaluate"] | {"learners": ["ridge", "mlp", "svm"], "learner_rows": 2000}}
    rows = 1000 + 5 * 1900 + 2 * 2000  # of eight sets: core, four of the members, a uniform choice, twice everything
    for name, expected in (("mlp", rows), ("svm", rows + 3 * 800), ("knn", 0)):  # the penalty of three is chosen
        made = costs.seconds(laws | {name: Law(((1, 1.0),))}, SIZES, values)
        assert {part: value for part, value in made.items() if value} == ({"learners": expected} if expected else {})


def test_fixed_steps_over_everything_take_as_many_derivatives():
    laws = dict.fromkeys(("head", "knn", "logistic", "svm", "mlp"), NOTHING) | {"derivatives": Law(((1, 5.0),))}
    values = VALUES | {"reweight": VALUES["reweight"] | {"steps": 2, "folds": 5, "over": "everything"}}
    assert costs.seconds(laws, SIZES, values)["weights"] == 3 * 4000 + 5 * 2 * 3200


def test_laws_are_measured_with_what_stages_do():
    features, labels = costs.made_up(300, 8, 3)
    laws = costs.measure(features, labels, 20, VALUES)
    assert laws.keys() == {"head", "derivatives", "logistic", "svm", "knn", "mlp"}
    assert all(law(300) > 0 for law in laws.values())
    assert all(value > 0 for value in costs.seconds(laws, SIZES, VALUES).values())
