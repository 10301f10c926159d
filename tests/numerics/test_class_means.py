"""The nearest class mean, leaving one out."""

import pytest
import torch

from diva.numerics.class_means import class_means, similarities
from tests import naive
from tests.problems import problem


def similar(q):
    cross = q.z.T @ naive.one_hot(q.labels, q.classes)
    return similarities(q.z, q.labels, class_means(cross, q.labels))


@pytest.mark.parametrize("seed", range(3))
def test_similarities_are_those_to_the_means_without_the_row(seed):
    q = problem(seed)
    torch.testing.assert_close(similar(q), naive.class_mean_similarities(q.z, q.labels, q.classes))


def test_a_class_of_one_sample_or_none_is_like_nothing():
    q = problem()
    labels = torch.where(q.labels == 3, 0, q.labels)
    labels[0] = 3
    cross = q.z.T @ naive.one_hot(labels, 5)
    s = similarities(q.z, labels, class_means(cross, labels))
    assert s[0, 3] == -torch.inf
    assert (s[:, 4] == -torch.inf).all()
    assert s[1:, :4].isfinite().all()


def test_two_samples_a_class_are_told_apart_where_least_squares_cannot():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(200).repeat_interleave(2)
    centres = 4 * torch.randn(200, 20, generator=g, dtype=torch.float64)
    z = torch.nn.functional.normalize(centres[labels] + torch.randn(400, 20, generator=g, dtype=torch.float64))
    f = naive.loo_predictions(z, labels, 200, 0.1, torch.ones(400, dtype=torch.float64))
    s = similarities(z, labels, class_means(z.T @ naive.one_hot(labels, 200), labels))
    assert (f.argmax(1) == labels).double().mean() < 0.3
    assert (s.argmax(1) == labels).all()
