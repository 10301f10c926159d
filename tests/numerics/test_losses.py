import pytest
import torch

from diva.numerics.losses import Loss, margins

ALL = [Loss("all"), Loss("hard_margin"), Loss("trimmed"), Loss("calibrated", 12.0), Loss("calibrated", 7.0, trim=False)]


def example():
    g = torch.Generator().manual_seed(0)
    return torch.randn(40, 5, generator=g, dtype=torch.float64), torch.randint(5, (40,), generator=g)


def test_margin_is_own_output_less_the_best_other():
    f, y = example()
    expected = [float(f[i, y[i]] - max(f[i, c] for c in range(5) if c != y[i])) for i in range(40)]
    torch.testing.assert_close(margins(f, y), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("loss", ALL, ids=str)
def test_gradients_are_those_of_the_values(loss):
    f, y = example()
    assert torch.autograd.gradcheck(lambda x: loss.values(x, y), f.clone().requires_grad_(True))
    f.requires_grad_(True)
    (expected,) = torch.autograd.grad(loss.values(f, y).sum(), f)
    torch.testing.assert_close(loss.gradients(f.detach(), y), expected)


def test_who_validates_follows_the_margin():
    f = torch.tensor([[1.0, 0.0], [0.45, 0.55], [0.1, 0.9]])
    y = torch.zeros(3, dtype=torch.int64)  # right, slightly wrong, hopeless
    said = {(loss.name, loss.trim): loss.validates(f, y).tolist() for loss in ALL}
    assert said["all", True] == [True, True, True]
    assert said["hard_margin", True] == [False, True, True]
    assert said["trimmed", True] == [False, True, False]
    assert said["calibrated", True] == [True, True, False]
    assert said["calibrated", False] == [True, True, True]


def test_unknown_loss_and_misplaced_temperature_are_refused():
    with pytest.raises(ValueError, match="loss must be one of"):
        Loss("hinge")
    with pytest.raises(ValueError, match="temperature must be 1 for all"):
        Loss("all", 3.0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        Loss("calibrated", -1.0)


def test_hard_margin_warns_where_labels_are_noisy():
    assert "10.0% of the labels look wrong" in Loss("hard_margin").warning(0.1, noisy=True)
    assert "calibrated" in Loss("hard_margin").warning(0.1, noisy=True)
    assert Loss("hard_margin").warning(0.01, noisy=False) == ""
    assert all(loss.warning(0.1, noisy=True) == "" for loss in ALL if loss.name != "hard_margin")
