import pytest
import torch

from diva.numerics.chunks import Chained, InMemory, Subset
from diva.numerics.ridge import moments, relabelled, solve
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")


@pytest.mark.parametrize("seed", range(3))
def test_head_minimises_the_weighted_ridge_objective(seed):
    q = problem(seed)
    model = solve(moments(q.chunks(), q.classes, q.weights), q.ridge)
    assert relative_error(model.head, naive.head(q.z, q.labels, q.classes, q.ridge, q.weights)) < 1e-10


@pytest.mark.parametrize("chunk_size", [1, 4, 30, 100])
def test_moments_do_not_depend_on_chunk_size(chunk_size):
    q = problem()
    whole, parts = moments(q.chunks(1000), q.classes, q.weights), moments(q.chunks(chunk_size), q.classes, q.weights)
    torch.testing.assert_close(parts.gram, whole.gram, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.cross, whole.cross, rtol=1e-12, atol=1e-12)


def test_moments_of_files_add_up_and_take_away():
    q = problem()
    whole = moments(q.chunks(), q.classes)
    first, second = moments(q.part(slice(0, 11)), q.classes), moments(q.part(slice(11, 30)), q.classes)
    torch.testing.assert_close((first + second).gram, whole.gram)
    torch.testing.assert_close((whole - first).cross, second.cross)
    chained = moments(Chained([q.part(slice(0, 11)), q.part(slice(11, 30))]), q.classes)
    torch.testing.assert_close(chained.gram, whole.gram)
    assert chained.count == (first + second).count == 30


def test_changed_labels_change_the_moments_like_a_fresh_sum():
    q = problem()
    after = q.labels.clone()
    changed = torch.arange(30) % 4 == 1
    after[changed] = (after[changed] + 1) % q.classes
    rows = InMemory(q.z[changed], after[changed], 3)
    updated = relabelled(moments(q.chunks(), q.classes), rows, q.labels[changed], q.classes)
    fresh = moments(InMemory(q.z, after, 7), q.classes)
    torch.testing.assert_close(updated.cross, fresh.cross, rtol=1e-12, atol=1e-12)
    assert torch.equal(updated.gram, moments(q.chunks(), q.classes).gram)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3, got \d\.\.9"):
        relabelled(fresh, rows, torch.cat([q.labels[changed][1:], torch.tensor([9])]), q.classes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_hundred_changes_leave_what_a_fresh_sum_gives(dtype):
    """Rows come, go and change their label; what is left over is within the rounding that the moments tell."""
    q = problem(n=400, classes=3)
    z, labels, inside = q.z.to(dtype), q.labels.clone(), torch.arange(400) < 200
    g = torch.Generator().manual_seed(0)
    state = moments(InMemory(z[inside], labels[inside]), 3)
    for turn in range(200):
        some = torch.randperm(400, generator=g)[:20]
        if turn % 3 == 2:
            some = some[inside[some]]
            before, labels[some] = labels[some].clone(), (labels[some] + 1) % 3
            state = relabelled(state, InMemory(z[some], labels[some]), before, 3)
            continue
        coming, going = some[~inside[some]], some[inside[some]]
        state = state + moments(InMemory(z[coming], labels[coming]), 3) - moments(InMemory(z[going], labels[going]), 3)
        inside[coming], inside[going] = True, False
    fresh = moments(InMemory(z[inside], labels[inside], 50), 3)
    assert state.count == fresh.count
    assert torch.linalg.matrix_norm(state.gram - fresh.gram, 2) < state.rounding
    assert relative_error(state.cross, fresh.cross) < (1e-4 if dtype == torch.float32 else 1e-12)
    head = solve(state, 1.0).head
    assert relative_error(head, solve(fresh, 1.0).head) < 3 * solve(state, 1.0).rounding


def test_subset_is_the_selected_rows():
    q = problem()
    mask = torch.arange(30) % 3 == 0
    chosen = moments(Subset(q.chunks(4), mask), q.classes)
    expected = moments(InMemory(q.z[mask], q.labels[mask]), q.classes)
    torch.testing.assert_close(chosen.gram, expected.gram)
    assert chosen.count == int(mask.sum())


def test_weight_two_is_the_row_twice():
    q = problem()
    weights = torch.ones(30, dtype=torch.float64)
    weights[5] = 2
    twice = InMemory(torch.cat([q.z, q.z[5:6]]), torch.cat([q.labels, q.labels[5:6]]))
    weighted, repeated = moments(q.chunks(), q.classes, weights), moments(twice, q.classes)
    torch.testing.assert_close(weighted.gram, repeated.gram)
    torch.testing.assert_close(weighted.cross, repeated.cross)


def test_weight_zero_is_the_row_absent():
    q = problem()
    present = q.weights > 0
    absent = moments(InMemory(q.z[present], q.labels[present]), q.classes, q.weights[present])
    torch.testing.assert_close(moments(q.chunks(), q.classes, q.weights).gram, absent.gram)


def test_scaling_weights_and_ridge_together_leaves_the_head():
    q = problem()
    once = solve(moments(q.chunks(), q.classes, q.weights), q.ridge)
    scaled = solve(moments(q.chunks(), q.classes, 3 * q.weights), 3 * q.ridge)
    torch.testing.assert_close(scaled.head, once.head, rtol=1e-10, atol=1e-12)


def test_float32_rows_keep_a_float64_gram():
    q = problem()
    rows = InMemory(q.z.float(), q.labels)
    assert moments(rows, q.classes).gram.dtype == torch.float64
    torch.testing.assert_close(moments(rows, q.classes).gram, moments(q.chunks(), q.classes).gram, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan"), float("inf")])
def test_ridge_must_be_positive(ridge):
    q = problem()
    with pytest.raises(ValueError, match="ridge must be positive and finite"):
        solve(moments(q.chunks(), q.classes), ridge)


def test_bad_labels_and_weights_are_named():
    q = problem()
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        moments(q.chunks(), 3)
    with pytest.raises(ValueError, match="weights must have shape"):
        moments(q.chunks(), q.classes, q.weights[:-1])
    with pytest.raises(ValueError, match="weights must be finite"):
        moments(q.chunks(), q.classes, -q.weights)


def test_chunks_refuse_shapes_that_do_not_fit():
    q = problem()
    with pytest.raises(ValueError, match="labels must have one entry per row"):
        InMemory(q.z, q.labels[:-1])
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        InMemory(q.z, q.labels, 0)
    with pytest.raises(ValueError, match="parts must share"):
        Chained([q.chunks(), InMemory(q.z[:, :3], q.labels)])
    with pytest.raises(ValueError, match="mask must have"):
        Subset(q.chunks(), torch.ones(3, dtype=torch.bool))
