"""Any spectrum, weights and ridge: finite figures, or one clear error; nothing in between."""

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diva.curation.detect import detect
from diva.curation.evaluation import train_by_leave_one_out
from diva.curation.extend import extend
from diva.curation.reweight import reweight
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative
from diva.numerics.grid import choose_ridge
from diva.numerics.losses import Loss
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import moments, solve

REFUSALS = (ValueError, ArithmeticError)
CLASSES = 3


@st.composite
def problems(draw: st.DrawFn) -> tuple[InMemory, Tensor, float]:
    """Rows of any spectrum (from 1 down to 0), weights from 0 to a million, a ridge from nothing to everything."""
    n, p, seed = draw(st.integers(4, 12)), draw(st.integers(1, 6)), draw(st.integers(0, 1 << 16))
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(size, p, generator=generator, dtype=torch.float64) for size in (n, p))
    exponents = draw(st.lists(st.sampled_from([0, -3, -6, -12, -30, -300]), min_size=p, max_size=p))
    scale = 10.0 ** draw(st.sampled_from([-12, -3, 0, 3, 12]))
    z = (
        scale
        * left
        @ torch.diag(torch.tensor([10.0**exponent for exponent in exponents], dtype=torch.float64))
        @ right.T
    )
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    labels = torch.randint(CLASSES, (n,), generator=generator)
    labels[:CLASSES] = torch.arange(CLASSES)
    weights = torch.tensor(draw(st.lists(st.sampled_from([0.0, 1e-9, 0.5, 1.0, 3.0, 1e6]), min_size=n, max_size=n)))
    ridge = 10.0 ** draw(st.integers(-30, 30))
    return InMemory(z.to(dtype), labels, draw(st.integers(1, 13))), weights.double(), ridge


def finite(value: Any) -> bool:
    """Whether all numbers of a result are."""
    if isinstance(value, Tensor):
        return bool(value.isfinite().all()) if value.is_floating_point() else True
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    if isinstance(value, tuple | list):
        return all(finite(entry) for entry in value)
    fields = getattr(value, "__dataclass_fields__", None)
    return all(finite(getattr(value, name)) for name in fields) if fields else True


def check(compute: Any) -> None:
    """Finite figures, or a refusal that says something."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = compute()
    except REFUSALS as error:
        assert len(str(error)) > 10
        return
    assert finite(result)


def derivative(chunks: InMemory, weights: Tensor, ridge: float, loss: Loss) -> Any:
    """Without the mean loss where nothing validates: a mean of nothing is no number, and says so."""
    found = dataset_derivative(fit_ridge(chunks, CLASSES, ridge, weights), loss)
    return found.values, found.margin, found.model, found.loss if found.validating else 0.0


TASKS = {
    "solve": lambda chunks, weights, ridge: solve(moments(chunks, CLASSES, weights), ridge),
    "choose_ridge": lambda chunks, weights, ridge: choose_ridge(chunks, CLASSES, [ridge, 1.0], weights),
    "derivative": lambda chunks, weights, ridge: derivative(chunks, weights, ridge, Loss("calibrated", 2.0)),
    "hard_margin": lambda chunks, weights, ridge: derivative(chunks, weights, ridge, Loss("hard_margin")),
    "reweight": lambda chunks, _, ridge: reweight(fit_ridge(chunks, CLASSES, ridge), steps=2).weights,
    "detect": lambda chunks, _, ridge: detect(fit_ridge(chunks, CLASSES, ridge), with_derivative=True),
    "extend": lambda chunks, _, ridge: extend(fit_ridge(chunks, CLASSES, ridge), chunks).index,
    "train": lambda chunks, _, ridge: train_by_leave_one_out(chunks, CLASSES, [ridge, 0.1]).model,
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_figures_are_finite_or_refused(task: Any) -> None:
    @given(problems())
    @settings(max_examples=25)
    def run(problem: tuple[InMemory, Tensor, float]) -> None:
        check(lambda: task(*problem))

    run()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_a_ridge_that_is_none_is_refused(value: float) -> None:
    chunks = InMemory(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3)
    with pytest.raises(REFUSALS, match="ridge"):
        solve(moments(chunks, CLASSES), value)
