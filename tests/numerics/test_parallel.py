import pytest
import torch

from diva.curation.additions import RoundSettings
from diva.curation.extend import extend_round
from diva.curation.noise import hopeless_share
from diva.numerics.adjoint import member_pass, outsider_adjoint
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative, member_derivatives, outsider_derivatives
from diva.numerics.losses import Loss
from diva.numerics.parallel import Parts, cuts, in_turn, tree
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import moments, solve
from tests.problems import problem, relative_error

PROBLEM = problem(n=60)
LOSS = Loss("calibrated", temperature=8.0)
VALIDATING = torch.arange(60) % 3 > 0


def parts(size, chunk_size=7, dtype=torch.float64):
    rows = PROBLEM.z.to(dtype)
    return Parts([InMemory(rows[part], PROBLEM.labels[part], chunk_size) for part in cuts(60, size, chunk_size)])


@pytest.mark.parametrize("size", [1, 14, 30, 1000])
def test_the_derivative_of_parts_is_that_of_the_whole(size):
    def found(chunks):
        return dataset_derivative(fit_ridge(chunks, 4, 0.05, PROBLEM.weights), LOSS, validating=VALIDATING)

    expected, got = found(PROBLEM.chunks()), found(parts(size))
    assert relative_error(got.values, expected.values) < 1e-9
    assert relative_error(got.margin, expected.margin) < 1e-9
    assert got.loss == pytest.approx(expected.loss, rel=1e-12)
    assert got.validating == expected.validating


def test_in_single_precision_cuts_between_chunks_change_no_more_than_the_order_of_sums():
    rows = InMemory(PROBLEM.z.float(), PROBLEM.labels, 7)
    expected, got = (moments(chunks, 4, PROBLEM.weights) for chunks in (rows, parts(14, dtype=torch.float32)))
    assert relative_error(got.gram, expected.gram) < 1e-14
    assert relative_error(got.cross, expected.cross) < 1e-14


def test_a_round_of_extend_over_parts_is_that_over_the_whole():
    whole, cut = (
        extend_round(fit_ridge(PROBLEM.part(slice(0, 25)), 4, 0.05), pool, LOSS, RoundSettings(5))
        for pool in (InMemory(PROBLEM.z, PROBLEM.labels, 7), parts(14))
    )
    assert torch.equal(whole.index, cut.index)
    assert relative_error(cut.gain, whole.gain) < 1e-9
    assert cut.candidates == whole.candidates


def test_outsiders_and_members_add_up():
    model = solve(moments(PROBLEM.chunks(), 4), 0.05)
    for chunks in (parts(1), parts(21)):
        members, seen = member_pass(chunks, model, LOSS)
        both = members + outsider_adjoint(chunks, model, LOSS)
        expected, whole = member_pass(PROBLEM.chunks(), model, LOSS)
        expected = expected + outsider_adjoint(PROBLEM.chunks(), model, LOSS)
        assert relative_error(both.head, expected.head) < 1e-9
        assert relative_error(seen.leverage_factor, whole.leverage_factor) < 1e-12
        for ask in (outsider_derivatives, member_derivatives):
            got, wanted = (ask(c, model, expected, LOSS).derivative for c in (chunks, PROBLEM.chunks()))
            assert relative_error(got, wanted) < 1e-9
        assert hopeless_share(chunks, model, member=True) == hopeless_share(PROBLEM.chunks(), model, member=True)


def test_errors_of_a_part_are_those_of_the_whole():
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        moments(parts(14), 3)


def test_each_part_gets_its_rows_and_all_get_the_rest():
    calls = []

    def mapper(function, shared, given):
        calls.extend(given)
        assert set(shared) == {"classes"}
        return in_turn(function, shared, given)

    spread = Parts(parts(21).parts, mapper)
    moments(spread, classes=4, weights=PROBLEM.weights)
    assert [call["chunks"].shape[0] for call in calls] == [21, 21, 18]
    assert torch.equal(torch.cat([call["weights"] for call in calls]), PROBLEM.weights)
    assert all(call["weights"].untyped_storage().nbytes() == 8 * len(call["weights"]) for call in calls)


def test_parts_iterate_as_one():
    rows = [chunk.rows for chunk in parts(21)]
    assert (rows[0].start, rows[-1].stop) == (0, 60)
    assert torch.equal(torch.cat([chunk.features for chunk in parts(21)]), PROBLEM.z)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 21])
def test_a_tree_adds_each_value_once_in_order_and_in_logarithmic_depth(count):
    def add(left, right):
        return left[0] + right[0], 1 + max(left[1], right[1])

    total, depth = tree(iter([(str(i) + ".", 0) for i in range(count)]), add)
    assert total == "".join(f"{i}." for i in range(count))
    assert depth <= 2 * max(1, (count - 1).bit_length())


def test_cuts_fall_between_chunks():
    assert cuts(60, 20, 7) == [slice(0, 14), slice(14, 28), slice(28, 42), slice(42, 56), slice(56, 60)]
    assert cuts(5, 2, 8) == [slice(0, 5)]
    assert cuts(0, 2, 8) == [slice(0, 0)]
