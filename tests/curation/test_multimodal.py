import pytest
import torch

from diva.curation.additions import RoundSettings
from diva.curation.evaluation import train
from diva.curation.extend import extend
from diva.curation.multimodal import curve
from diva.numerics.chunks import InMemory
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge

CLASSES, WIDTH, SHOTS = 12, 40, 3


def towers(seed: int = 0):
    """Images around a direction per class; names of the first half embedded there, the others' at another class's."""
    g = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(WIDTH, CLASSES, generator=g))[0].T

    def images(each):
        labels = torch.arange(CLASSES).repeat_interleave(each)
        return directions[labels] + 0.2 * torch.randn(len(labels), WIDTH, generator=g), labels

    named = torch.arange(CLASSES)
    shown = torch.where(named < CLASSES // 2, named, (named + 1 - CLASSES // 2) % (CLASSES // 2) + CLASSES // 2)
    texts = directions[shown] + 0.05 * torch.randn(CLASSES, WIDTH, generator=g)
    return images(SHOTS), (texts, named), images(200)


def prepared(part):
    return Prepared(InMemory(*part, 16))


@pytest.fixture(scope="module")
def found():
    core, pool, test = map(prepared, towers())
    return curve(fit_ridge(core, CLASSES, 0.1), pool, test, draws=4)


def test_right_names_are_chosen_before_wrong_ones(found):
    assert sorted(found.index.tolist()) == list(range(CLASSES))
    assert set(found.index[: CLASSES // 2].tolist()) == set(range(CLASSES // 2))


@pytest.mark.parametrize("seed", range(3))
def test_the_papers_loss_puts_most_right_names_first(seed):
    core, pool, test = map(prepared, towers(seed))
    found = curve(fit_ridge(core, CLASSES, 0.1), pool, test, draws=0, loss="hard_margin")
    right = found.index < CLASSES // 2
    assert right[: CLASSES // 2 + 1].sum() > right[CLASSES // 2 + 1 :].sum()


def test_right_names_lower_the_error_and_forcing_wrong_ones_raises_it(found):
    right, everything = found.errors[CLASSES // 2], found.errors[-1]
    assert right < found.errors[0] - 0.005
    assert everything > right + 0.01


def test_extend_would_have_stopped_before_the_wrong_ones(found):
    assert found.willing == CLASSES // 2


@pytest.mark.parametrize(("seed", "per_round"), [(8, 1), (4, 2), (2, 3)])
def test_what_is_willing_is_what_extend_adds_when_it_may_stop(seed, per_round):
    core, pool, test = map(prepared, towers(seed))  # where forced additions bring up candidates again
    rule = {"loss": "hard_margin", "settings": RoundSettings(per_round, validate_on="members")}
    images = fit_ridge(core, CLASSES, 0.1)
    stopped = extend(images, pool, **rule)
    found = curve(images, pool, test, RoundSettings(per_round), draws=0, loss="hard_margin")
    assert found.willing == len(stopped.index)


def test_the_curve_is_that_of_heads_trained_anew(found):
    core, pool, test = towers()
    assert found.sizes == tuple(range(CLASSES + 1))
    for size in (0, 3, CLASSES):
        added = found.index[:size]
        rows = prepared((torch.cat([core[0], pool[0][added]]), torch.cat([core[1], pool[1][added]])))
        correct = train(rows, CLASSES, 0.1).correct(prepared(test))
        assert float(found.errors[size]) == pytest.approx(1 - float(correct.double().mean()))


def test_every_order_begins_and_ends_alike_and_in_between_the_choice_is_better(found):
    assert (found.uniform[:, 0] == found.errors[0]).all()
    assert (found.uniform[:, -1] - found.errors[-1]).abs().max() < 1e-9
    assert found.errors[CLASSES // 2] < found.uniform[:, CLASSES // 2].min()


def test_several_are_added_at_once():
    core, pool, test = map(prepared, towers(1))
    found = curve(fit_ridge(core, CLASSES, 0.1), pool, test, RoundSettings(5), draws=1, loss="all")
    assert found.sizes == (0, 5, 10, 12)
    assert found.errors.shape == (4,)


def test_a_pool_of_another_width_is_refused():
    core, (texts, named), test = towers()
    with pytest.raises(ValueError, match="names must be rows of the images' width"):
        curve(fit_ridge(prepared(core), CLASSES, 0.1), prepared((texts[:, :5], named)), prepared(test))
