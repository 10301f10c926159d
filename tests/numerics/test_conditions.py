"""What a pass asks of a card: torch's tensors without numbers stand for those of a card, and every question is counted.

A card computes while Python goes on, until it is asked for a number or for how many rows a mask chooses, or memory that
is not page-locked is copied. However many chunks there are, a pass asks as often.
"""

import weakref
from collections import Counter

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from diva.curation.noise import hopeless
from diva.numerics import conditions, leave_one_out, normalize, residence, ridge, threads
from diva.numerics.adjoint import Adjoint, member_pass, outsider_adjoint
from diva.numerics.chunks import InMemory, Subset
from diva.numerics.derivative import dataset_derivative, member_derivatives, outsider_derivatives
from diva.numerics.expected_variance import outlook, row_variances
from diva.numerics.grid import choose_ridge
from diva.numerics.losses import Loss
from diva.numerics.normalize import Prepared, Scaling, scaling
from diva.numerics.precision import RidgeFit
from diva.numerics.residence import Resident
from diva.numerics.ridge import Moments, RidgeModel, moments, relabelled
from diva.numerics.targets import TargetFit, TargetLoss, loo_predictions_of_targets, target_derivative, target_moments
from tests.problems import problem, relative_error

P, K, SIZE, LOSS = 6, 4, 5, Loss("calibrated", 8.0)


class Asked(TorchDispatchMode):
    """Counts what waits for a card. A number that is asked for is 1, which is true; a mask chooses one row, or all."""

    def __init__(self):
        super().__init__()
        self.count, self.locked = Counter(), {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name, kwargs = function.overloadpacket.__name__, kwargs or {}
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        on_card = first is not None and first.device.type == "cuda"
        if name == "_local_scalar_dense":
            self.count["number"] += on_card
            return 1
        if name == "nonzero":
            self.count["how many"] += on_card
            return torch.zeros(1, first.ndim, dtype=torch.int64, device=first.device)
        if name in ("index", "index_put_") and on_card:
            indices = [index for index in args[1] if index is not None]
            self.count["mask"] += any(index.dtype == torch.bool for index in indices)
            self.count["copy"] += any(index.device.type == "cpu" for index in indices)
            if name == "index" and indices[0].dtype == torch.bool:
                return first.clone()
        if name == "is_pinned":
            return id(first) in self.locked
        if name == "_pin_memory":
            copy = first.clone()
            return self.locked.setdefault(id(copy), copy)
        result = function(*args, **kwargs)
        source = args[1] if name == "copy_" else first
        if name in ("_to_copy", "copy_") and source.device != result.device and source.ndim:
            quick = kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))
            self.count["copy"] += not (quick and result.device.type == "cuda" and id(source) in self.locked)
        return result


class OfCard(InMemory):
    """Rows of a card, whose labels are in memory."""

    def read(self, chosen):
        for chunk in InMemory.__iter__(self):
            chosen(chunk.rows)
            yield chunk


def on_card(n):
    """n rows of a card, a model, and what stands for each row in memory."""
    z = torch.randn(n, P, device="cuda")
    head, root = torch.randn(P, K, device="cuda").double(), torch.randn(P, P, device="cuda").double()
    chunks = InMemory(z, torch.zeros(n, dtype=torch.int64, device="cuda"), SIZE)
    return chunks, RidgeModel(head, root, 1.0), torch.ones(n).double()


def adjoint():
    return Adjoint(torch.zeros(P, K, device="cuda").double(), torch.zeros(P, P, device="cuda").double(), 1.0, 1.0)


def prepared(n, kind):
    raw = OfCard(torch.randn(n, P, device="cuda", dtype=torch.float16), torch.zeros(n, dtype=torch.int16), SIZE)
    return Prepared(raw, kind, scaling=Scaling(*torch.ones(2, P).double()), device="cuda")


def fit(n):
    chunks, model, column = on_card(n)
    return RidgeFit(chunks, Moments(model.root, model.head, n), model, column)


def targets(n):
    chunks, model, column = on_card(n)
    return TargetFit(InMemory(chunks.features.double(), chunks.labels, SIZE), torch.ones(n, K).double(), model, column)


PASSES = {
    "moments": lambda n: moments(on_card(n)[0], K),
    "weighted moments": lambda n: moments(on_card(n)[0], K, on_card(n)[2]),
    "relabelled": lambda n: relabelled(
        Moments(on_card(n)[1].root, on_card(n)[1].head, n), on_card(n)[0], torch.zeros(n, dtype=torch.int64), K
    ),
    "ridge grid": lambda n: choose_ridge(*on_card(n)[:1], K, widen=False),
    "temperature": lambda n: leave_one_out.temperature_and_leverage(fit(n), torch.ones(n)),
    "leverages": lambda n: leave_one_out.leverage_factors(*on_card(n)[:2]),
    "adjoint": lambda n: member_pass(*on_card(n)[:2], LOSS, *[on_card(n)[2]] * 3, watching=on_card(n)[2]),
    "adjoint of others": lambda n: outsider_adjoint(*on_card(n)[:2], LOSS),
    "derivative": lambda n: member_derivatives(*on_card(n)[:2], adjoint(), LOSS, *[on_card(n)[2]] * 3),
    "derivative of a pool": lambda n: outsider_derivatives(*on_card(n)[:2], adjoint(), None),
    "outlook": lambda n: outlook(*on_card(n)[:2], 8.0),
    "variances": lambda n: row_variances(on_card(n)[0], on_card(n)[1].root, on_card(n)[1].root),
    "moments of targets": lambda n: target_moments(on_card(n)[0], torch.ones(n, K)),
    "predictions of targets": lambda n: loo_predictions_of_targets(targets(n)),
    "derivative of targets": lambda n: target_derivative(targets(n), TargetLoss("squared")),
    "noise": lambda n: hopeless(*on_card(n)[:2], member=True),
    "some rows": lambda n: list(Subset(on_card(n)[0], torch.ones(n).bool())),
    **{kind: lambda n, kind=kind: list(prepared(n, kind)) for kind in ("unit", "none", "standardize")},
    "rows that stay": lambda n: [list(each) for each in [Resident(prepared(n, "unit"))] * 2],
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_asks_a_card_as_often_whatever_the_number_of_chunks(name, monkeypatch):
    counts = []
    monkeypatch.setattr(residence, "memory", lambda _: 2**30)
    monkeypatch.setattr(threads, "thread_count", lambda: 1)  # tensors that stand for a card's bear one thread alone
    for chunks in (3, 9):
        with FakeTensorMode(), Asked() as asked:
            PASSES[name](chunks * SIZE)
        counts.append(asked.count)
    assert counts[0] == counts[1]


@pytest.fixture
def later(monkeypatch):
    """What rows must meet is looked at when a pass ends, as on a card."""
    for module in (conditions, leave_one_out, normalize, ridge):
        monkeypatch.setattr(module, "deferred", lambda _: True)


def test_results_do_not_depend_on_when_conditions_are_looked_at(request):
    def results():
        extreme = q.z.float() * torch.logspace(-30, 30, len(q.z))[:, None]  # squares leave the range of float32
        rows = [chunk.features for each in (q.z, extreme) for chunk in Prepared(InMemory(each, q.labels, 7))]
        fitted = q.fit(q.chunks(), q.weights)
        return *rows, fitted.moments.cross, dataset_derivative(fitted, LOSS).values, fitted

    q, some = problem(), torch.arange(30) % 3
    expected = results()
    best = leave_one_out.choose_temperature(expected[-1], some)
    request.getfixturevalue("later")
    got = results()
    assert all(torch.equal(*pair) for pair in zip(got[:-1], expected[:-1], strict=True))
    assert leave_one_out.choose_temperature(got[-1], some) == best


@pytest.mark.usefixtures("later")
def test_what_waits_to_be_looked_at_holds_no_predictions():
    q, waiting = problem(), conditions.Conditions()
    outputs = torch.zeros(30, 4).double()
    alive = weakref.ref(outputs)
    leave_one_out.from_outputs(outputs, q.labels, q.weights, torch.zeros(30), 0.05, waiting)
    del outputs
    assert alive() is None
    waiting.settle()


@pytest.mark.parametrize("when", [None, "later"])
def test_broken_conditions_are_named_whenever_they_are_looked_at(when, request):
    if when:
        request.getfixturevalue(when)
    q = problem()
    wrong, broken, huge = q.labels.clone(), q.z.float(), q.z.float()
    wrong[20], broken[17, 3], huge[4] = 4, torch.nan, 1e30
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3, got \d\.\.4\."):
        moments(InMemory(q.z, wrong, 7), 4)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3, got \d\.\.4\."):
        relabelled(q.fit(q.chunks()).moments, q.chunks(), wrong, 4)
    resident = Resident(Prepared(InMemory(broken, q.labels, 7)))
    for _ in range(2):  # what is not finite does not stay
        with pytest.raises(ValueError, match="got NaN or infinity in row 17, in float32"):
            list(resident)
    with pytest.raises(ValueError, match="squares within float32"):
        list(Prepared(InMemory(huge, q.labels, 7), "none"))
    model = RidgeModel(q.fit(q.chunks()).model.head, 10 * torch.eye(8).double(), 0.05)
    message = r"leverage must be below 1, got [\d.]+ at ridge 0.05 in torch.float64"
    with pytest.raises(ValueError, match=message):
        leave_one_out.leave_one_out(q.z, q.labels, q.weights, model)
    with pytest.raises(ValueError, match=message):
        member_pass(q.chunks(), model, LOSS)
    with pytest.raises(ValueError, match=message):
        member_derivatives(q.chunks(), model, member_pass(q.chunks(), q.fit(q.chunks()).model, LOSS)[0], LOSS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_travel_to_a_card_give_what_the_processor_gives(dtype):
    q = problem(1, n=600, p=24)
    raw = InMemory(q.z.numpy().astype("float16"), q.labels.numpy().astype("int16"), 29)

    def results(device):
        chunks = Resident(Prepared(raw, "standardize", scaling=scaling(raw), device=device, dtype=dtype))
        choice = choose_ridge(chunks, q.classes, weights=q.weights, groups=torch.arange(600) % 250)
        fitted = q.fit(Subset(chunks, torch.arange(600) % 5 > 0), q.weights[torch.arange(600) % 5 > 0])
        temperature, fitted = leave_one_out.temperature_and_leverage(fitted)
        f, leverage = leave_one_out.predictions_and_leverage(fitted)
        derivative = dataset_derivative(fitted, Loss("calibrated", 8.0))
        return choice.ridge, temperature, fitted.moments.gram.cpu(), f, leverage, derivative.values

    expected, got = results("cpu"), results("cuda")
    assert got[:2] == expected[:2]
    for actual, wanted in zip(got[2:], expected[2:], strict=True):
        assert relative_error(actual.double(), wanted.double()) < (1e-3 if dtype == torch.float32 else 1e-9)
