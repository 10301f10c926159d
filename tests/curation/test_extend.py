import math

import pytest
import torch

from diva.curation.additions import RoundSettings
from diva.curation.candidates import choose
from diva.curation.extend import downdate, extend, extend_round, prepare_rule
from diva.curation.noise import assess_noise, hopeless_share
from diva.numerics.chunks import Chained, InMemory, Subset
from diva.numerics.leave_one_out import leverage_factors, temperatures
from diva.numerics.losses import THRESHOLD, Loss, margins
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import moments, solve
from tests import naive
from tests.problems import problem, relative_error

pytestmark = pytest.mark.usefixtures("arithmetic")

CORE, POOL = slice(0, 24), slice(24, 60)
EACH_LOSS = pytest.mark.parametrize("loss", ["all", "hard_margin", "trimmed", "calibrated"])


def ones(n):
    return torch.ones(n, dtype=torch.float64)


def halves(seed=0, wrong=0):
    """A problem of 60 rows: 24 of core, 36 of pool, the first ``wrong`` of which get another label."""
    q = problem(seed, n=60, classes=3, condition=20)
    q.labels[24 : 24 + wrong] = (q.labels[24 : 24 + wrong] + 1) % 3
    return q, q.part(CORE), q.part(POOL, 5)


def by_hand(q, members, outside, loss, pool_validates):
    """Derivative, gain and margin of the rows ``outside``, from refits and automatic differentiation."""
    rows = torch.cat([members, outside])
    z, labels = q.z[rows], q.labels[rows]
    alpha = (torch.arange(len(rows)) < len(members)).double()
    validates = ones(len(rows)) if pool_validates else alpha
    derivative = naive.gradient(
        lambda a: naive.union_loss(z, labels, q.classes, q.ridge, a, loss, validates), alpha
    )[len(members) :]  # fmt: skip
    inverse = torch.linalg.inv(q.z[members].T @ q.z[members] + q.ridge * torch.eye(q.z.shape[1]).double())
    quadratic = (q.z[outside] @ inverse * q.z[outside]).sum(1)
    plain = q.z[outside] @ naive.head(q.z[members], q.labels[members], q.classes, q.ridge, ones(len(members)))
    return derivative, derivative / (1 + quadratic), margins(plain, q.labels[outside])


@pytest.mark.parametrize("validate_on", ["members", "members_and_pool"])
@pytest.mark.parametrize("name", ["all", "hard_margin", "trimmed", "calibrated"])
def test_a_round_equals_its_naive_twin(name, validate_on):
    q, core, pool = halves(1)
    loss = Loss(name, 8.0) if name == "calibrated" else Loss(name)
    turn = extend_round(q.fit(core), pool, loss, RoundSettings(36, validate_on=validate_on))
    expected = by_hand(q, torch.arange(24), torch.arange(24, 60), loss, validate_on == "members_and_pool")
    for actual, twin in zip((turn.derivative, turn.gain, turn.margin), expected, strict=True):
        assert relative_error(actual, twin) < 1e-9


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_calibrated_order_is_the_naive_order(seed, trim):
    q, core, pool = halves(seed, wrong=9)
    loss = Loss("calibrated", 8.0, trim)
    turn = extend_round(q.fit(core), pool, loss, RoundSettings(36))
    _, gain, margin = by_hand(q, torch.arange(24), torch.arange(24, 60), loss, True)
    assert turn.index.tolist() == naive.extend_order_calibrated(gain, margin, trim, THRESHOLD)
    assert turn.candidates == len(turn.index)


@pytest.mark.parametrize("trim", [False, True])
def test_calibrated_order_of_random_numbers_is_the_naive_order(trim):
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        gain, margin = torch.randn(2, 25, generator=g, dtype=torch.float64)
        order, candidates = choose(gain, gain, margin, Loss("calibrated", 8.0, trim))
        assert order[:candidates].tolist() == naive.extend_order_calibrated(gain, margin, trim, THRESHOLD)
        assert sorted(order.tolist()) == list(range(25))


@pytest.mark.parametrize("name", ["all", "hard_margin"])
def test_the_papers_rule_takes_the_most_negative_first(name):
    q, core, pool = halves(2)
    turn = extend_round(q.fit(core), pool, Loss(name), RoundSettings(36, validate_on="members"))
    expected = [j for j in turn.derivative.argsort().tolist() if turn.derivative[j] < 0]
    assert turn.index.tolist() == expected
    assert turn.candidates == len(expected)


def test_trimmed_takes_the_hopeless_last():
    derivative = torch.tensor([-5.0, -1.0, 2.0, -3.0, 1.0], dtype=torch.float64)
    margin = torch.tensor([-0.9, 0.1, 0.1, -0.1, -0.5], dtype=torch.float64)
    order, candidates = choose(derivative, derivative, margin, Loss("trimmed"))
    assert candidates == 3
    assert order.tolist() == [3, 1, 2, 0, 4]  # forced, even a harmful sample comes before a hopeless one


@EACH_LOSS
@pytest.mark.parametrize("seed", range(4))
def test_while_it_may_stop_only_candidates_are_added(loss, seed):
    q, core, pool = halves(seed, wrong=12)
    result = extend(q.fit(core), pool, loss=loss, settings=RoundSettings(5))
    assert (result.derivative < 0).all()


@EACH_LOSS
@pytest.mark.parametrize("validate_on", ["members", "members_and_pool"])
def test_updating_the_leverages_of_the_pool_equals_computing_them_again(loss, validate_on, monkeypatch):
    q, core, pool = halves(1, wrong=6)
    results = []
    for updated in (0, 10):
        monkeypatch.setattr("diva.curation.extend.UPDATED", updated)
        results.append(
            extend(
                q.fit(core),
                pool,
                loss=loss,
                settings=RoundSettings(3, validate_on=validate_on, stop=False),
            )
        )
    anew, updated = results
    assert torch.equal(anew.index, updated.index)
    for one, other in zip(anew.history, updated.history, strict=True):
        torch.testing.assert_close(other.leverage_factor, one.leverage_factor, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(other.gain, one.gain, rtol=1e-9, atol=1e-12)


def test_a_downdate_is_the_quadratic_form_of_the_larger_set():
    q, core, pool = halves(2)
    rows = q.part(slice(24, 31))
    before = solve(moments(core, q.classes), q.ridge)
    after = solve(moments(core, q.classes) + moments(rows, q.classes), q.ridge)
    g = downdate(pool, leverage_factors(pool, before), before, q.z[24:31])
    torch.testing.assert_close(g, leverage_factors(pool, after), rtol=1e-11, atol=1e-13)


def test_ties_go_to_the_earlier_sample():
    equal = torch.full((4,), -1.0, dtype=torch.float64)
    order, _ = choose(equal, equal, torch.zeros(4).double(), Loss("all"))
    assert order.tolist() == [0, 1, 2, 3]


@EACH_LOSS
@pytest.mark.parametrize("stop", [True, False])
def test_budget_is_respected(loss, stop):
    q, core, pool = halves()
    result = extend(q.fit(core), pool, loss=loss, budget=7, settings=RoundSettings(4, stop=stop))
    assert len(result.index) <= 7
    if not stop:
        assert [len(turn.index) for turn in result.history] == [4, 3]
        assert result.stop == "the budget is spent"


def test_per_round_is_a_tenth_of_the_pool_by_default():
    q, core, pool = halves()
    result = extend(q.fit(core), pool, settings=RoundSettings(stop=False))
    assert [len(turn.index) for turn in result.history] == [3] * 12


@EACH_LOSS
def test_without_stop_the_pool_is_used_up(loss):
    q, core, pool = halves(3, wrong=10)
    result = extend(q.fit(core), pool, loss=loss, settings=RoundSettings(10, stop=False))
    assert sorted(result.index.tolist()) == list(range(36))
    assert result.round.tolist() == [1] * 10 + [2] * 10 + [3] * 10 + [4] * 6
    assert result.stop == "the pool is used up"


@EACH_LOSS
@pytest.mark.parametrize("validate_on", ["members", "members_and_pool"])
def test_adding_by_rounds_equals_recomputing_from_scratch(loss, validate_on):
    q, core, pool = halves(1, wrong=6)
    result = extend(
        q.fit(core),
        pool,
        loss=loss,
        settings=RoundSettings(6, validate_on=validate_on, stop=False),
    )
    chosen = prepare_rule(loss, q.fit(core), pool)
    used = torch.zeros(36, dtype=torch.bool)
    for number, turn in enumerate(result.history, 1):
        members = torch.cat([torch.arange(24), 24 + used.nonzero()[:, 0]])
        outside = 24 + (~used).nonzero()[:, 0]
        derivative, gain, margin = by_hand(q, members, outside, chosen, validate_on == "members_and_pool")
        for actual, twin in zip((turn.derivative, turn.gain, turn.margin), (derivative, gain, margin), strict=True):
            assert relative_error(actual, twin) < 1e-9
        order, _ = choose(derivative, gain, margin, chosen)
        added = outside[order[:6]] - 24
        assert result.index[result.round == number].tolist() == added.tolist()
        used[added] = True


def test_moments_that_are_known_change_nothing():
    q, core, pool = halves()
    used = torch.arange(36) % 4 == 0
    members, rest, loss = Chained([core, Subset(pool, used)]), Subset(pool, ~used), Loss("calibrated", 8.0)
    sums = moments(core, q.classes) + moments(Subset(pool, used), q.classes)
    known, fresh = (extend_round(q.fit(members, sums=given), rest, loss, RoundSettings(5)) for given in (sums, None))
    assert relative_error(known.derivative, fresh.derivative) < 1e-10
    assert torch.equal(known.index, fresh.index)


@EACH_LOSS
def test_chunk_size_changes_nothing(loss):
    q, _, _ = halves(2, wrong=5)
    first, second = (
        extend(
            q.fit(q.part(CORE, size)),
            q.part(POOL, size),
            loss=loss,
            settings=RoundSettings(4),
        )
        for size in (60, 7)
    )
    assert torch.equal(first.index, second.index)
    torch.testing.assert_close(first.derivative, second.derivative, rtol=1e-9, atol=1e-14)


def test_derivative_of_the_result_is_that_of_the_round_it_was_chosen_in():
    q, core, pool = halves()
    result = extend(q.fit(core), pool, budget=10, settings=RoundSettings(5, stop=False))
    first, second = result.history
    assert torch.equal(result.derivative[:5], first.derivative[result.index[:5]])
    assert torch.equal(result.derivative[5:], second.derivative[second.index])


def separable(n):
    return InMemory(torch.eye(2, dtype=torch.float64).repeat(n // 2, 1), torch.arange(n) % 2)


def swapped(n):
    """Every label wrong: hopeless under a core that is right."""
    return InMemory(torch.eye(2, dtype=torch.float64).repeat(n // 2, 1), (torch.arange(n) + 1) % 2)


@pytest.mark.parametrize("stop", [True, False])
def test_where_nothing_validates_extend_stops_and_says_so(stop):
    result = extend(
        fit_ridge(separable(20), 2, 0.1), separable(10), loss="hard_margin", settings=RoundSettings(stop=stop)
    )
    assert result.stop == "no sample validates, so the derivative is zero"
    assert len(result.index) == 0
    assert result.history[0].validating == 0
    assert math.isnan(result.history[0].loss)
    assert (result.history[0].derivative == 0).all()


def test_a_pool_of_wrong_labels_has_no_candidate():
    result = extend(fit_ridge(separable(20), 2, 0.1), swapped(10))
    assert result.stop == "no candidate is left"
    assert len(result.index) == 0


def test_fewer_candidates_than_a_round_adds_are_added_and_end_it():
    q, core, pool = halves(1)
    result = extend(q.fit(core), pool, settings=RoundSettings(36))
    assert result.stop == "fewer candidates were left than a round adds"
    assert 0 < len(result.index) == result.history[0].candidates < 36


@pytest.mark.parametrize("budget", [None, 0])
def test_an_empty_pool_adds_nothing(budget):
    q, core, pool = halves()
    result = extend(q.fit(core), Subset(pool, torch.zeros(36, dtype=torch.bool)), budget=budget)
    assert result.stop == "the pool is empty"
    assert len(result.index) == len(result.round) == len(result.derivative) == len(result.history) == 0


def test_a_budget_of_nothing_is_spent():
    q, core, pool = halves()
    result = extend(q.fit(core), pool, budget=0)
    assert (len(result.index), result.stop) == (0, "the budget is spent")


def test_a_round_of_an_empty_pool_stops():
    q, core, pool = halves()
    nothing = Subset(pool, torch.zeros(36, dtype=torch.bool))
    turn = extend_round(q.fit(core), nothing, Loss("calibrated", 8.0), RoundSettings(3))
    assert (len(turn.index), turn.stop) == (0, "the pool is empty")


@pytest.mark.parametrize("wrong", [0, 12])
@pytest.mark.parametrize("seed", range(3))
def test_noise_is_judged_by_the_cores_own_model(seed, wrong):
    q, core, pool = halves(seed, wrong)
    z, labels = q.z[CORE], q.labels[CORE]
    f = naive.loo_predictions_by_refits(z, labels, q.classes, q.ridge, ones(24))
    plain = q.z[POOL] @ naive.head(z, labels, q.classes, q.ridge, ones(24))
    fc = float((margins(f, labels) <= -0.25).double().mean())
    fp = float((margins(plain, q.labels[POOL]) <= -0.25).double().mean())
    noise = assess_noise(q.fit(core), pool)
    assert (noise.core, noise.pool) == pytest.approx((fc, fp))
    assert noise.noisy == (fc > 0.05 or fp > fc + 2 * math.sqrt(fc * (1 - fc) * (1 / 24 + 1 / 36)))


def rows(right, wrong):
    """Unit rows of two classes, ``wrong`` of them with the other's label."""
    labels = torch.arange(right + wrong) % 2
    z = torch.eye(2, dtype=torch.float64)[labels]
    labels[right:] = 1 - labels[right:]
    return InMemory(z, labels)


@pytest.mark.parametrize(
    ("core", "pool", "noisy"),
    [
        (rows(100, 0), rows(60, 0), False),
        (rows(95, 5), rows(60, 0), False),  # 5 % is not more than 5 %
        (rows(94, 6), rows(60, 0), True),
        (rows(96, 4), rows(91, 9), False),  # .09 < .04 + 2 · .0277
        (rows(96, 4), rows(90, 10), True),
        (rows(100, 0), rows(99, 1), True),  # a core without any has no spread
    ],
)
def test_noisy_is_a_share_above_five_per_cent_or_two_standard_errors(core, pool, noisy):
    noise = assess_noise(fit_ridge(core, 2, 0.1), pool)
    assert noise.noisy is noisy
    loss = prepare_rule("calibrated", fit_ridge(core, 2, 0.1), pool, 8.0)
    assert (loss.trim, loss.temperature) == (noisy, 8.0)


def test_temperature_is_chosen_on_the_core_alone():
    q, core, pool = halves(1)
    expected = naive.temperature(q.z[CORE], q.labels[CORE], q.classes, q.ridge, ones(24), temperatures())
    assert prepare_rule("calibrated", q.fit(core), pool).temperature == expected


def test_hopeless_share_of_no_rows_is_zero():
    q, core, pool = halves()
    model = solve(moments(core, q.classes), q.ridge)
    assert hopeless_share(Subset(pool, torch.zeros(36, dtype=torch.bool)), model, member=False) == 0


def test_wrong_labels_of_the_pool_are_left_out():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(150) % 3
    z = torch.eye(3, dtype=torch.float64)[labels] + 0.3 * torch.randn(150, 3, generator=g, dtype=torch.float64)
    given = labels.clone()
    given[100:] = (given[100:] + 1) % 3  # a third of all, half of the pool
    result = extend(fit_ridge(InMemory(z[:50], given[:50]), 3, 0.1), InMemory(z[50:], given[50:]))
    assert len(result.index) > 5
    assert (result.index >= 50).double().mean() < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": 37}, r"budget must lie in 0..36 \(the pool\), got 37"),
        ({"budget": -1}, "budget must lie in 0..36"),
        ({"settings": RoundSettings(0)}, "per_round must be at least 1, got 0"),
        ({"loss": "soft"}, "loss must be one of all"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, message):
    q, core, pool = halves()
    with pytest.raises(ValueError, match=message):
        extend(q.fit(core), pool, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"per_round": -1}, "per_round must be at least 0, got -1"),
        ({"validate_on": "core"}, "validate_on must be one of members, members_and_pool, got 'core'"),
    ],
)
def test_settings_out_of_range_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RoundSettings(**arguments)


@pytest.mark.parametrize("per_class", [1, 2, 5])
def test_a_cap_takes_the_first_of_each_class_in_the_order_of_the_rule(per_class):
    q, core, pool = halves(2)
    loss = Loss("calibrated", 8.0)
    free = extend_round(q.fit(core), pool, loss, RoundSettings(36))
    capped = extend_round(q.fit(core), pool, loss, RoundSettings(36, per_class=per_class))
    labels = q.labels[24:]
    taken, expected = {}, []
    for j in free.index.tolist():
        taken[int(labels[j])] = taken.get(int(labels[j]), 0) + 1
        expected += [j] if taken[int(labels[j])] <= per_class else []
    assert capped.index.tolist() == expected
    assert capped.candidates == free.candidates
    assert (capped.stop is None) == (len(expected) < free.candidates), "those that wait ask for another round"


def test_a_cap_comes_before_the_size_of_a_round():
    q, core, pool = halves(2)
    turn = extend_round(q.fit(core), pool, Loss("all"), RoundSettings(2, per_class=1, stop=False))
    assert len(set(q.labels[24:][turn.index].tolist())) == 2
    with pytest.raises(ValueError, match="per_class must be at least 1, or None for no limit, got 0"):
        extend_round(q.fit(core), pool, Loss("all"), RoundSettings(2, per_class=0))


@pytest.mark.parametrize("validate_on", ["members", "members_and_pool"])
def test_pool_derivative_equals_autograd_where_pool_rows_share_groups_with_members_and_each_other(validate_on):
    q, loss = problem(3, n=60), Loss("calibrated", 8.0)
    core, pool = q.part(slice(0, 24)), q.part(slice(24, 60))
    groups = torch.arange(60) % 25  # of 2 and 3 rows, in the core and in the pool
    groups[50:] = -1
    fitted = fit_ridge(core, q.classes, q.ridge, groups=groups[:24])
    choice = extend_round(fitted, pool, loss, RoundSettings(36, validate_on=validate_on), groups=groups[24:])
    units = torch.where(groups < 0, 100 + torch.arange(60), groups)
    weights = (torch.arange(60) < 24).double()
    importance = torch.ones(60).double() if validate_on == "members_and_pool" else weights
    arguments = (q.z, q.labels, q.classes, q.ridge)
    expected = naive.gradient(lambda a: naive.group_loss(*arguments, a, loss, units, importance), weights)[24:]
    assert relative_error(choice.derivative, expected) < 1e-10
    f = naive.group_predictions_by_refits(*arguments, weights, units)
    assert relative_error(choice.margin, margins(f, q.labels)[24:]) < 1e-10
    bad = margins(f, q.labels) <= -0.25
    noise = assess_noise(fitted, pool, groups[24:])
    assert (noise.core, noise.pool) == (float(bad[:24].double().mean()), float(bad[24:].double().mean()))


def test_groups_of_the_pool_that_nobody_shares_change_no_bit():
    q = problem(3, n=60)
    core, pool = q.part(slice(0, 24)), q.part(slice(24, 60))
    plain = extend(fit_ridge(core, q.classes, q.ridge), pool)
    grouped = extend(fit_ridge(core, q.classes, q.ridge, groups=torch.arange(24)), pool, groups=torch.arange(24, 60))
    assert torch.equal(plain.index, grouped.index)
    assert torch.equal(plain.derivative, grouped.derivative)


def test_groups_of_another_length_than_the_pool_are_told():
    q = problem(3, n=60)
    fitted = fit_ridge(q.part(slice(0, 24)), q.classes, q.ridge)
    with pytest.raises(ValueError, match=r"groups must have one entry per row of the pool \(36\), got \(35,\)"):
        extend(fitted, q.part(slice(24, 60)), groups=torch.arange(35))
