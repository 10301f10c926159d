import pytest
import torch

from diva.methods.softmax import check, errors, minibatches, rows


def test_gradient_is_that_of_the_cross_entropy():
    g = torch.Generator().manual_seed(0)
    z, head = torch.randn(9, 4, generator=g).double(), torch.randn(4, 3, generator=g).double().requires_grad_(True)
    labels = torch.randint(3, (9,), generator=g)
    (expected,) = torch.autograd.grad(torch.nn.functional.cross_entropy(z @ head, labels, reduction="sum"), head)
    assert torch.allclose(z.T @ errors(z, labels, head.detach()), expected)


def test_rows_are_centred_on_the_training_rows():
    x = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]])
    assert rows(x, x).tolist() == [[-1, 0, 1], [1, 0, 1], [0, 0, 1]]
    assert rows(torch.tensor([[2.0, 5.0]]), x).tolist() == [[0, 1, 1]]


def test_an_epoch_visits_every_row_once():
    batches = list(minibatches(10, 4, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(torch.cat(batches).tolist()) == list(range(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [((0, 1, 1.0), "epochs must be"), ((1, 0, 1.0), "batch_size must be"), ((1, 1, 0.0), "lr must be positive")],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        check(*settings)
