"""One sample's share in each other's loss, against its derivative, automatic differentiation and leaving it out."""

import pytest
import torch

from diva.numerics.adjoint import member_pass
from diva.numerics.derivative import dataset_derivative, outsider_derivatives
from diva.numerics.influence import influences
from diva.numerics.losses import Loss
from diva.numerics.precision import fit_ridge
from tests import naive
from tests.problems import problem

GROUPS = {
    "one by one": None,
    "triples": torch.arange(30) // 3,
    "some": torch.where(torch.arange(30) < 12, torch.arange(30) // 4, torch.arange(30) + 100),
    "larger than p": torch.arange(30) // 15,
}
LOSSES = [Loss("all"), Loss("calibrated", 6.0), Loss("calibrated", 6.0, trim=False), Loss("hard_margin")]


def shares(fit, loss, z, labels, j, validating=None):
    groups = fit.groups
    together = torch.arange(len(z)) == j if groups is None else groups == groups[j]
    return influences(fit, loss, z[j], int(labels[j]), together, validating)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("seed", range(2))
def test_parts_sum_to_the_derivative_and_equal_autograd(loss, groups, seed):
    posed, together = problem(seed), GROUPS[groups]
    fit = fit_ridge(posed.chunks(), posed.classes, posed.ridge, posed.weights, groups=together)
    numbers = torch.arange(30) if together is None else together
    validating = torch.randint(0, 3, (30,), generator=torch.Generator().manual_seed(seed)).double()
    whole = dataset_derivative(fit, loss, validating=validating)

    def losses(weights):
        f = naive.group_predictions(posed.z, posed.labels, posed.classes, posed.ridge, weights, numbers)
        v = loss.validates(f.detach(), posed.labels).double() * validating
        return v * loss.values(f, posed.labels)

    jacobian = torch.autograd.functional.jacobian(losses, posed.weights)
    for j in range(30):
        one = shares(fit, loss, posed.z, posed.labels, j, validating)
        assert one.validating == whole.validating
        assert abs(one.derivative - float(whole.values[j])) <= 1e-9 * float(whole.values.abs().max())
        assert float((one.values - jacobian[:, j]).abs().max()) <= 1e-9 * float(jacobian.abs().max())


def test_of_a_sample_outside_the_model_they_sum_to_what_adding_it_does():
    posed, loss = problem(3), Loss("calibrated", 6.0)
    inside, outside = slice(0, 24), slice(24, 30)
    fit = fit_ridge(posed.part(inside), posed.classes, posed.ridge)
    adjoint, _ = member_pass(fit.chunks, fit.model, loss)
    whole = outsider_derivatives(posed.part(outside), fit.model, adjoint, None).derivative
    nothing = torch.zeros(24, dtype=torch.bool)
    for j in range(6):
        row = influences(fit, loss, posed.z[24 + j], int(posed.labels[24 + j]), nothing)
        assert row.derivative == pytest.approx(float(whole[j]), rel=1e-9)


def test_a_little_less_of_a_sample_changes_the_losses_of_refits_by_as_much():
    posed, loss, j, step = problem(5), Loss("all"), 17, 1e-4
    fit = fit_ridge(posed.chunks(), posed.classes, posed.ridge, posed.weights)

    def losses(weights):
        f = naive.loo_predictions_by_refits(posed.z, posed.labels, posed.classes, posed.ridge, weights)
        return loss.values(f, posed.labels)

    moved = torch.eye(30).double()[j] * step
    change = (losses(posed.weights + moved) - losses(posed.weights - moved)) / (2 * step)
    assert torch.allclose(shares(fit, loss, posed.z, posed.labels, j).values, change, atol=1e-6)


def test_rows_of_the_samples_own_group_do_not_hear_of_it():
    posed = problem(1)
    fit = fit_ridge(posed.chunks(), posed.classes, posed.ridge, posed.weights, groups=torch.arange(30) // 3)
    values = shares(fit, Loss("all"), posed.z, posed.labels, 4).values
    assert ((values == 0) == (torch.arange(30) // 3 == 1)).all()


@pytest.mark.parametrize("groups", GROUPS)
def test_the_pass_also_sees_how_near_rows_lie_and_what_the_model_would_lack(groups):
    posed, together = problem(2), GROUPS[groups]
    fit = fit_ridge(posed.chunks(), posed.classes, posed.ridge, posed.weights, groups=together)
    row = shares(fit, LOSSES[0], posed.z, posed.labels, 5)
    own = torch.arange(30) == 5 if together is None else together == together[5]
    unit = torch.nn.functional.normalize(posed.z[:, :-1])
    assert torch.allclose(row.cosines, unit @ unit[5], atol=1e-12)
    assert row.labels.equal(posed.labels)
    rest = fit_ridge(posed.part(~own), posed.classes, posed.ridge, posed.weights[~own]).moments
    assert torch.allclose((fit.moments - row.own).gram, rest.gram, atol=1e-10)
    assert torch.allclose((fit.moments - row.own).cross, rest.cross, atol=1e-10)
    assert influences(fit, LOSSES[0], posed.z[5], 0, own & False).own is None
