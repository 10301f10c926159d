import subprocess
import sys

import numpy as np
import pytest
import torch

from diva.methods.names import get, names
from diva.methods.registry import FUNCTIONS, Valuation, order, scores
from diva.methods.registry import compute as value
from tests.methods.samples import clusters

SUSPECTS = [name for name in names() if get(name).suspects]
QUICK = {"host_cp": {"epochs": 1}}  # the one that takes seconds


def compute(name, x, y, **options):
    return value(name, x, y, **QUICK.get(name, {}), **options)


def rank(name, *arguments, **options):
    return order(name, *arguments, **QUICK.get(name, {}), **options)


def test_listing_the_methods_needs_no_torch(project):
    script = "import sys; from diva.methods.names import names; names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=project, check=False).returncode == 0


def test_all_methods_of_the_comparison_are_there():
    assert set(names()) == {
        "soft", "margin", "derivative", "cg_score", "host_cp", "knn_shapley", "learning_to_reweight", "active_bias",
        "smallest_margin", "k_center", "uniform", "balanced_uniform",
    }  # fmt: skip


def test_every_method_says_where_it_comes_from_and_has_its_functions():
    assert FUNCTIONS.keys() == set(names())
    for name in names():
        assert get(name).reference


@pytest.mark.parametrize("name", names())
def test_every_method_gives_one_finite_value_per_sample(name):
    x, y, _ = clusters()
    found = compute(name, x, y)
    assert found.kind == get(name).kind
    assert found.values.shape == (60,)
    assert found.values.dtype == torch.float64
    assert torch.isfinite(found.values).all()
    assert sorted(found.best_first.tolist()) == list(range(60))
    if found.kind == "set":
        assert set(found.values.tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("name", names())
def test_every_method_is_deterministic_and_leaves_the_global_seed_alone(name):
    x, y, _ = clusters()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # to see that nobody uses it
    before = torch.get_rng_state(), np.random.get_state()[2]  # noqa: NPY002
    one, two = (compute(name, x, y, seed=7).values for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[2] == before[1]  # noqa: NPY002


@pytest.mark.parametrize("name", names())
def test_every_method_takes_strings_float16_and_tensors(name):
    x, y, _ = clusters()
    expected = compute(name, x.astype(np.float32), y).values
    names_of = np.array(["ant", "bee", "cat"])
    assert torch.allclose(compute(name, torch.from_numpy(x).float(), names_of[y]).values, expected, atol=1e-6)
    assert torch.isfinite(compute(name, x.astype(np.float16), names_of[y].tolist()).values).all()


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("case", ["constant", "zero", "duplicates", "single members", "zero rows"])
def test_every_method_stays_finite(name, case):
    x, y, _ = clusters(n=40)
    if case == "constant":
        x = np.full_like(x, 3.0)
    elif case == "zero":
        x = np.zeros_like(x)
    elif case == "duplicates":
        x = np.repeat(x[:5], 8, 0)
    elif case == "single members":
        y = np.array([0] * 20 + [1] * 17 + [2, 3, 4])
    elif case == "zero rows":
        x[::7] = 0
    assert torch.isfinite(compute(name, x, y).values).all()
    positions = rank(name, x[::2], y[::2], x[1::2], y[1::2])
    assert sorted(positions.tolist()) == list(range(20))


@pytest.mark.parametrize("name", names())
def test_every_method_refuses_what_is_not_finite(name):
    x, y, _ = clusters()
    x[4, 2] = np.nan
    with pytest.raises(ValueError, match="features must be finite, got NaN or infinity in row 4"):
        compute(name, x, y)
    with pytest.raises(ValueError, match="features must be finite"):
        rank(name, x, y, x, y)


@pytest.mark.parametrize("name", names())
def test_every_method_knows_what_one_class_means_to_it(name):
    x, _, _ = clusters()
    y = np.zeros(60, dtype=int)
    if name in ("cg_score", "k_center", "uniform", "balanced_uniform"):
        assert torch.isfinite(compute(name, x, y).values).all()
    else:
        with pytest.raises(ValueError, match="labels must hold at least 2 different classes, got 1"):
            compute(name, x, y)


@pytest.mark.parametrize("name", names())
def test_every_method_ranks_a_pool(name):
    x, y, _ = clusters(n=80)
    one, two = (rank(name, x[:40], y[:40], x[40:], y[40:], seed=3, classes=3) for _ in range(2))
    assert one.dtype == torch.int64
    assert sorted(one.tolist()) == list(range(40))
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", SUSPECTS)
def test_scores_are_high_where_labels_are_wrong(name):
    x, y, bad = clusters(n=150, wrong=20)
    found = scores(name, x, y, 3, seed=1)
    assert found.dtype == torch.float64
    assert found[torch.from_numpy(bad)].mean() > found[torch.from_numpy(~bad)].mean()
    assert bad[found.argsort(descending=True)[:20]].mean() > 0.6


@pytest.mark.parametrize("name", sorted(set(names()) - set(SUSPECTS)))
def test_methods_that_suspect_nobody_are_no_score(name):
    x, y, _ = clusters()
    with pytest.raises(ValueError, match=rf"curate.score must be a method that suspects labels \(soft, .*got {name}"):
        scores(name, x, y)


def test_a_class_without_members_changes_no_label():
    x, y, _ = clusters()
    for name in ("soft", "cg_score", "knn_shapley"):
        assert torch.isfinite(scores(name, x, y, 5)).all()
        assert torch.isfinite(scores(name, x, [f"c{i}" for i in y], ["c9", "c2", "c1", "c0"])).all()


def test_a_wrong_name_gets_the_close_ones():
    with pytest.raises(ValueError, match=r"method must be one of soft, .*, got 'cgscore'; did you mean cg_score"):
        get("cgscore")


def test_a_wrong_option_gets_the_right_ones():
    x, y, _ = clusters()
    with pytest.raises(ValueError, match=r"options of cg_score must be among ratio, .*, got repeat"):
        scores("cg_score", x, y, repeat=3)


def test_seed_goes_only_where_there_is_chance():
    x, y, _ = clusters()
    assert torch.equal(scores("soft", x, y, seed=1), scores("soft", x, y, seed=2))
    assert not torch.equal(scores("cg_score", x, y, seed=1), scores("cg_score", x, y, seed=2))


def test_best_first_follows_the_kind():
    values = torch.tensor([0.2, 0.9, 0.2, 0.5])
    assert Valuation("suspicion", values).best_first.tolist() == [0, 2, 3, 1]
    assert Valuation("value", values).best_first.tolist() == [1, 3, 0, 2]
