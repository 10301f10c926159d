from dataclasses import replace

import pytest
import torch

from diva.numerics.chunks import Chained
from diva.numerics.derivative import Adjoint, member_derivatives
from diva.numerics.groups import GroupSums, LargeGroup, SmallGroups, gathered_groups, single_rows
from diva.numerics.losses import Loss
from diva.numerics.ridge import moments, solve
from tests import naive
from tests.problems import problem, relative_error

# Groups of 1, 2, 3, 6 and 13 rows, in no order, where p is 8; −1 stands for no group.
MIXED = torch.tensor([0, 1, 5, 5, 1, 5, 2, 5, 5, 5, 3, 5, 2, 5, 5, 4, 2, 5, 5, -1, -1, 6, 6, 6, 5, 6, 6, 5, 6, 7])
RUNS = torch.arange(30) // 4
ENTRIES = pytest.mark.parametrize("entries", [1, 40, 2**20], ids=["read again", "several lots", "one lot"])
LOSSES = [Loss("all"), Loss("hard_margin"), Loss("trimmed"), Loss("calibrated", 9.0)]


def model_of(q):
    return solve(moments(q.chunks(), q.classes, q.weights), q.ridge)


def alone(groups):
    """Rows of −1 as groups of their own, as the naive forms want them."""
    return torch.where(groups < 0, 100 + torch.arange(len(groups)), groups)


@ENTRIES
@pytest.mark.parametrize("groups", [MIXED, RUNS], ids=["mixed", "runs"])
@pytest.mark.parametrize("seed", range(2))
def test_predictions_without_the_group_equal_refits(groups, entries, seed):
    q = problem(seed)  # weights of 0 and above 1 among them
    expected = naive.group_predictions_by_refits(q.z, q.labels, q.classes, q.ridge, q.weights, alone(groups))
    closed = naive.group_predictions(q.z, q.labels, q.classes, q.ridge, q.weights, alone(groups))
    assert relative_error(closed, expected) < 1e-10
    model, together = model_of(q), ~single_rows(groups, 30)
    f, seen = torch.zeros_like(expected), torch.zeros(30)
    for bundle in gathered_groups(q.chunks(), groups, q.weights, entries):
        for part in bundle.parts(model):
            f[part.rows], seen[part.rows] = part.predictions, seen[part.rows] + 1
            assert torch.equal(part.labels, q.labels[part.rows])
            assert torch.equal(part.features, q.z[part.rows])
            assert relative_error(part.quadratic, (q.z @ model.inverse * q.z).sum(1)[part.rows]) < 1e-10
    assert torch.equal(seen, together.float())
    assert relative_error(f[together], expected[together]) < 1e-10


@ENTRIES
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize("seed", range(2))
def test_sums_of_groups_give_the_derivative_of_refits_without_them(loss, entries, seed):
    q, groups = problem(seed), MIXED.clone()
    groups[groups < 0] = 5  # single rows are the business of the derivative
    groups[groups == 0], groups[groups == 3], groups[groups == 4], groups[groups == 7] = 1, 1, 2, 2
    importance = (torch.arange(30) % 4).double()
    model, sums = model_of(q), GroupSums(8, q.classes, q.z.device)
    own, totals = torch.zeros(30).double(), torch.zeros(2).double()

    def valid(part):
        return loss.validates(part.predictions, part.labels).double() * importance[part.rows]

    def gradients(part):
        return valid(part)[:, None] * loss.gradients(part.predictions, part.labels)

    for bundle in gathered_groups(q.chunks(), groups, q.weights, entries):
        for part, term in bundle.adjoint(model, gradients, sums):
            own[part.rows], v = term, valid(part)
            totals += torch.stack([v @ loss.values(part.predictions, part.labels), v.sum()])
    adjoint = Adjoint(sums.cross, sums.gram, *totals.tolist())
    rows = member_derivatives(q.chunks(), model, adjoint, None, q.weights)
    arguments = (q.z, q.labels, q.classes, q.ridge)
    expected = naive.gradient(lambda a: naive.group_loss(*arguments, a, loss, groups, importance), q.weights)
    assert relative_error(rows.derivative - own / totals[1], expected) < 1e-10


def test_groups_of_the_same_rows_in_other_chunks_are_the_same():
    q, groups = problem(), MIXED
    model = model_of(q)

    def predictions(chunks, entries):
        parts = [part for b in gathered_groups(chunks, groups, q.weights, entries) for part in b.parts(model)]
        rows = torch.cat([part.rows for part in parts])
        return torch.cat([part.predictions for part in parts])[torch.argsort(rows)]

    whole = predictions(q.chunks(1000), 2**20)
    for size in (1, 4, 7):
        assert relative_error(predictions(q.chunks(size), 50), whole) < 1e-12
    chained = Chained([q.part(slice(0, 11), 4), q.part(slice(11, 30), 5)])
    assert relative_error(predictions(chained, 50), whole) < 1e-12


class Counted:
    """Chunks that count how often they are read."""

    def __init__(self, chunks):
        self.chunks, self.shape, self.read = chunks, chunks.shape, 0

    def __iter__(self):
        self.read += 1
        return iter(self.chunks)


def test_groups_that_do_not_overlap_are_gathered_in_one_pass_and_others_in_one_a_lot():
    q = problem()
    counted = Counted(q.chunks())
    list(gathered_groups(counted, RUNS, None, 8 * 8))
    assert counted.read == 1
    list(gathered_groups(counted, torch.arange(30) % 8, None, 8 * 8))  # two groups fit at a time
    assert counted.read == 1 + 4


def test_large_groups_are_solved_in_the_features_and_small_ones_among_themselves():
    q = problem()
    bundles = list(gathered_groups(q.chunks(), MIXED))
    assert {type(bundle) for bundle in bundles} == {SmallGroups, LargeGroup}
    assert sorted(bundle.size for bundle in bundles if isinstance(bundle, SmallGroups)) == [2, 3, 6]
    assert [len(bundle.rows) for bundle in bundles if isinstance(bundle, LargeGroup)] == [13]


def test_another_basis_of_the_features_changes_no_prediction():
    q, model = problem(), model_of(problem())
    eigenvalues, rotation = torch.linalg.eigh(q.z.T @ (q.weights[:, None] * q.z))
    turned = replace(model, head=rotation.T @ model.head, root=(eigenvalues + q.ridge).rsqrt())
    for bundle in gathered_groups(q.chunks(), MIXED, q.weights):
        here = torch.cat([part.predictions for part in bundle.parts(model)])
        there = torch.cat([part.predictions for part in bundle.turned(rotation).parts(turned)])
        assert relative_error(there, here) < 1e-9


@pytest.mark.parametrize("groups", [MIXED, RUNS], ids=["mixed", "runs"])
def test_weights_of_another_model_are_told(groups):
    q = problem()
    bundle, model = next(gathered_groups(q.chunks(), groups, torch.full((30,), 1e3))), model_of(q)
    with pytest.raises(ValueError, match="leverage of a group must be below 1"):
        list(bundle.parts(model))
