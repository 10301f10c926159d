import numpy as np
import pytest
import torch

from diva.methods.active_bias import active_bias, closeness_weights, order, train
from diva.methods.inputs import labelled, pair
from tests.methods.samples import clusters


def naive(x, y, classes, epochs, burn_in, batch_size, lr, seed):
    """The same training by autograd and loops over samples, keeping every probability seen."""
    z = torch.from_numpy(x) - torch.from_numpy(x).mean(0)
    z = torch.cat([z / z.norm(dim=1, keepdim=True), torch.ones(len(z), 1).double()], 1)
    head = torch.zeros(z.shape[1], classes, dtype=torch.float64)
    history = [[] for _ in y]
    generator = torch.Generator().manual_seed(seed)
    weights = [1.0] * len(y)
    for epoch in range(epochs):
        if epoch >= max(burn_in, 1):
            weights = weigh(history)
        order = torch.randperm(len(y), generator=generator).tolist()
        for start in range(0, len(y), batch_size):
            batch = order[start : start + batch_size]
            parameter = head.clone().requires_grad_(True)
            losses = []
            for i in batch:
                log_p = torch.log_softmax(z[i] @ parameter, 0)[int(y[i])]
                history[i].append(float(log_p.detach().exp()))
                losses.append(-weights[i] * log_p)
            (gradient,) = torch.autograd.grad(sum(losses) / len(batch), parameter)
            head = head - lr * gradient
    return torch.tensor(weigh(history), dtype=torch.float64)


def weigh(history):
    means = [sum(seen) / len(seen) for seen in history]
    closeness = [p * (1 - p) for p in means]
    smooth = sum(closeness) / len(closeness)
    total = sum(c + smooth for c in closeness) / len(closeness)
    return [(c + smooth) / total for c in closeness]


@pytest.mark.parametrize("burn_in", [0, 2, 4])
def test_weights_are_those_of_the_history(burn_in):
    x, y, _ = clusters(n=20)
    found = active_bias(labelled(x, y), epochs=4, burn_in=burn_in, batch_size=6, lr=0.7, seed=2)
    assert torch.allclose(found, naive(x, y, 3, 4, burn_in, 6, 0.7, 2), atol=1e-10)


def test_weights_have_mean_one_and_peak_at_one_half():
    weights = closeness_weights(torch.linspace(0, 1, 11))
    assert float(weights.mean()) == pytest.approx(1)
    assert int(weights.argmax()) == 5
    assert torch.allclose(weights, weights.flip(0))


def test_decided_samples_weigh_the_same():
    assert closeness_weights(torch.tensor([0.0, 1.0, 1.0])).tolist() == [1, 1, 1]


def test_order_puts_the_undecided_first():
    x, y, _ = clusters(n=60, wrong=0)
    x[40] = (x[y == 0].mean(0) + x[y == 1].mean(0)) / 2  # between two classes
    y[40] = 0
    assert 10 in order(*pair(x[:30], y[:30], x[30:], y[30:]))[:3].tolist()


def test_watched_samples_train_nothing():
    x, y, _ = clusters(n=40)
    data, others = labelled(x[:20], y[:20], 3), labelled(x[20:], y[20:], 3)
    alone, _ = train(data, data, 3, 1, 8, 1.0, 0)
    watched, seen = train(data, others, 3, 1, 8, 1.0, 0)
    assert torch.equal(alone, watched)
    assert ((seen > 0) & (seen < 1)).all()


def test_seed_decides():
    x, y, _ = clusters()
    one, same, other = (active_bias(labelled(x, y), seed=seed, epochs=3, burn_in=1) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_burn_in_longer_than_training_is_refused():
    x, y, _ = clusters()
    with pytest.raises(ValueError, match=r"burn_in must lie in 0..3 \(the epochs\), got 4"):
        active_bias(labelled(x, y), epochs=3, burn_in=4)


def test_scale_of_the_features_does_not_matter():
    x, y, _ = clusters()
    assert np.allclose(active_bias(labelled(x, y)), active_bias(labelled(1000 * x, y)))
