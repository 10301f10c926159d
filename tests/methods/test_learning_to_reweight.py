import pytest
import torch
from sklearn.metrics import roc_auc_score

from diva.methods.inputs import labelled, pair
from diva.methods.learning_to_reweight import learning_to_reweight, mean_weights, order, weights
from diva.methods.softmax import errors
from tests.methods.samples import clusters


def by_second_differentiation(z, labels, checks, check_labels, head, lr):
    """∂L_v/∂ε through the step θ − lr Σ ε ∇ℓ, by automatic differentiation of a gradient."""
    parameter = head.clone().requires_grad_(True)
    epsilon = torch.zeros(len(z), dtype=torch.float64, requires_grad=True)
    loss = epsilon @ torch.nn.functional.cross_entropy(z @ parameter, labels, reduction="none")
    (gradient,) = torch.autograd.grad(loss, parameter, create_graph=True)
    trusted = torch.nn.functional.cross_entropy(checks @ (parameter - lr * gradient), check_labels)
    (influence,) = torch.autograd.grad(trusted, epsilon)
    clipped = (-influence).clamp_min(0)
    return clipped / clipped.sum()


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_the_clipped_meta_gradient(seed):
    g = torch.Generator().manual_seed(seed)
    z, checks, head = (torch.randn(*shape, generator=g).double() for shape in ((12, 4), (7, 4), (4, 3)))
    labels, check_labels = torch.randint(3, (12,), generator=g), torch.randint(3, (7,), generator=g)
    found = weights(z, errors(z, labels, head), checks, errors(checks, check_labels, head))
    assert torch.allclose(found, by_second_differentiation(z, labels, checks, check_labels, head, 0.3))
    assert (found == 0).any()


def test_no_agreement_gives_no_weight():
    z = torch.ones(2, 1).double()
    push, pull = torch.tensor([[1.0, -1.0]]).double(), torch.tensor([[-1.0, 1.0]]).double()
    assert weights(z, push.expand(2, 2), z, pull.expand(2, 2)).tolist() == [0, 0]


def test_wrong_labels_get_little_weight():
    x, y, bad = clusters(n=200, wrong=30)
    assert roc_auc_score(bad, -learning_to_reweight(labelled(x, y))) > 0.95


def test_weights_average_to_one_at_most():
    x, y, _ = clusters()
    found = learning_to_reweight(labelled(x, y), batch_size=16)
    assert (found >= 0).all()
    assert 0.9 < float(found.mean()) < 1 + 1e-6


def test_order_trusts_the_core():
    x, y, bad = clusters(n=200, wrong=30)
    bad_core = bad[:80]
    positions = order(*pair(x[:80][~bad_core], y[:80][~bad_core], x[80:], y[80:]))
    last = positions[-int(bad[80:].sum()) :]
    assert bad[80:][last].mean() > 0.9


def test_order_is_by_the_mean_weight():
    x, y, _ = clusters(n=60)
    data, trusted = labelled(x[30:], y[30:], 3), labelled(x[:30], y[:30], 3)
    found = order(*pair(x[:30], y[:30], x[30:], y[30:], 3), seed=4)
    assert found.tolist() == (-mean_weights(data, trusted, 5, 256, 0.1, 4)).argsort(stable=True).tolist()


def test_seed_decides():
    x, y, _ = clusters()
    one, same, other = (learning_to_reweight(labelled(x, y), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("folds", [1, 61])
def test_folds_out_of_range_are_refused(folds):
    x, y, _ = clusters()
    with pytest.raises(ValueError, match=rf"folds must lie in 2..60 \(the samples\), got {folds}"):
        learning_to_reweight(labelled(x, y), folds=folds)
