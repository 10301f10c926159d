import numpy as np
import pytest
import torch

from diva.numerics.chunks import InMemory
from diva.numerics.normalize import Prepared, scaling, unit


def rows(chunks) -> torch.Tensor:
    return torch.cat([chunk.features for chunk in chunks])


def raw(dtype=np.float32):
    x = np.random.default_rng(0).normal(3, 2, (20, 5)).astype(dtype)
    return InMemory(x, np.arange(20) % 3, 6)


def test_unit_rows_have_norm_one_and_a_constant_column():
    z = rows(Prepared(raw(), dtype=torch.float64))
    torch.testing.assert_close(z[:, :-1].norm(dim=1), torch.ones(20, dtype=torch.float64))
    assert (z[:, -1] == 1).all()


def test_a_zero_row_stays_zero():
    z = rows(Prepared(InMemory(np.zeros((3, 4)), np.zeros(3, int))))
    assert (z[:, :-1] == 0).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_a_row_is_of_no_account_where_rows_have_norm_one(scale):
    features = raw().features.copy()
    features[4] = 0
    far = InMemory(features * np.float32(scale), np.zeros(20), 6)
    torch.testing.assert_close(rows(Prepared(far)), rows(Prepared(InMemory(features, np.zeros(20), 6))))
    torch.testing.assert_close(unit(torch.tensor(far.features)), unit(torch.tensor(features)))
    if scale > 1:
        with pytest.raises(ValueError, match="squares within float32, got larger ones; scale them down"):
            rows(Prepared(far, "none"))


def test_standardized_columns_have_mean_zero_and_spread_one():
    z = rows(Prepared(raw(np.float64), "standardize", scaling=scaling(raw(np.float64)), dtype=torch.float64))[:, :-1]
    torch.testing.assert_close(z.mean(0), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(5, dtype=torch.float64))


def test_a_constant_column_far_from_zero_standardizes_to_zero():
    x = np.random.default_rng(0).normal(size=(50, 3)) + 1e6
    x[:, 1] = 1e6
    chunks = InMemory(x, np.zeros(50, int), 7)
    z = rows(Prepared(chunks, "standardize", scaling=scaling(chunks), dtype=torch.float64))[:, :-1]
    assert (z[:, 1] == 0).all()
    torch.testing.assert_close(z[:, 0].std(correction=0), torch.tensor(1.0, dtype=torch.float64), rtol=1e-6, atol=0)


def test_none_leaves_rows_as_they_are():
    z = rows(Prepared(raw(), "none"))[:, :-1]
    torch.testing.assert_close(z, torch.as_tensor(raw().features))


def test_half_precision_on_disk_is_computed_in_single():
    assert rows(Prepared(raw(np.float16))).dtype == torch.float32


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("normalize", ["unit", "none"])
def test_a_row_that_is_not_finite_is_named(value, normalize):
    x = np.ones((20, 5))
    x[13, 2] = value
    with pytest.raises(ValueError, match="row 13"):
        rows(Prepared(InMemory(x, np.zeros(20, int), 6), normalize))


def test_unknown_normalisation_and_missing_scaling_are_refused():
    with pytest.raises(ValueError, match="normalize must be one of"):
        Prepared(raw(), "whiten")
    with pytest.raises(ValueError, match="scaling must be given"):
        Prepared(raw(), "standardize")
