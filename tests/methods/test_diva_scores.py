import pytest
import torch

from diva.curation.additions import RoundSettings
from diva.curation.detect import detect
from diva.curation.extend import extend
from diva.methods.diva_scores import derivative, derivative_order, detection, soft, soft_order
from diva.methods.inputs import labelled, pair
from diva.methods.margin import margin
from diva.methods.ridge_fit import fit
from diva.numerics.chunks import InMemory
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge
from tests.methods.samples import clusters

RIDGE = 0.1


def chunks(x, y):
    return Prepared(InMemory(x, y), dtype=torch.float64)


def test_scores_are_those_of_detect():
    x, y, _ = clusters()
    for name, score in (("soft", soft), ("derivative", derivative), ("margin", margin)):
        expected = detect(fit_ridge(chunks(x, y), 3, RIDGE), score=name)
        assert torch.allclose(score(labelled(x, y), ridge=RIDGE), expected.score, atol=1e-12)


def test_second_round_and_flags_are_those_of_detect():
    x, y, _ = clusters(n=120, wrong=20)
    expected = detect(fit_ridge(chunks(x, y), 3, RIDGE), second_round=True)
    assert torch.allclose(soft(labelled(x, y), ridge=RIDGE, second_round=True), expected.score)
    assert torch.equal(
        detection("soft", labelled(x, y), ridge=RIDGE).flagged, detect(fit_ridge(chunks(x, y), 3, RIDGE)).flagged
    )


def test_ridge_is_chosen_by_leave_one_out():
    x, y, _ = clusters()
    chosen = fit(labelled(x, y), ridge=None, normalize="unit").model.ridge
    torch.testing.assert_close(soft(labelled(x, y)), soft(labelled(x, y), ridge=chosen), rtol=1e-9, atol=1e-12)


def test_derivative_order_is_the_first_round_of_extend():
    x, y, _ = clusters(n=80)
    arguments = (x[:30], y[:30], x[30:], y[30:])
    found = derivative_order(*pair(*arguments), ridge=RIDGE)
    expected = extend(
        fit_ridge(chunks(x[:30], y[:30]), 3, RIDGE),
        chunks(x[30:], y[30:]),
        budget=10,
        settings=RoundSettings(per_round=10, stop=False),
    )
    assert found[:10].tolist() == expected.index.tolist()
    assert sorted(found.tolist()) == list(range(50))


def test_soft_order_takes_the_surest_first():
    x, y, bad = clusters(n=120, wrong=12)
    found = soft_order(*pair(x[:60], y[:60], x[60:], y[60:]))
    assert sorted(found.tolist()) == list(range(60))
    assert bad[60:][found[-int(bad[60:].sum()) :]].mean() > 0.8


@pytest.mark.parametrize("choose", [soft_order, derivative_order])
def test_one_class_in_the_core_is_refused(choose):
    x, _, _ = clusters(n=10)
    with pytest.raises(ValueError, match="at least 2 different classes, got 1"):
        choose(*pair(x[:5], [0] * 5, x[5:], [0, 1, 0, 1, 0]))
