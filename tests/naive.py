"""The specification: every closed form once more, slow on purpose, straight from its definition.

n×n matrices, refits and automatic differentiation are welcome here; nothing in ``diva/`` may look like this.
All of it runs in float64 on a handful of rows.
"""

import math

import numpy as np
import torch
from torch import Tensor

from diva.numerics.losses import Loss


def one_hot(labels: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(labels, classes).double()


def head(z: Tensor, labels: Tensor, classes: int, ridge: float, weights: Tensor) -> Tensor:
    """The minimiser of Σ α ‖y − Wᵀz‖² + λ‖W‖², by the normal equations."""
    d = torch.diag(weights)
    return torch.linalg.solve(z.T @ d @ z + ridge * torch.eye(z.shape[1]).double(), z.T @ d @ one_hot(labels, classes))


def loo_predictions_by_refits(z: Tensor, labels: Tensor, classes: int, ridge: float, weights: Tensor) -> Tensor:
    """f (n, k): n models, each trained without one row."""
    rows = []
    for i in range(len(z)):
        without = weights.clone()
        without[i] = 0
        rows.append(z[i] @ head(z, labels, classes, ridge, without))
    return torch.stack(rows)


def loo_predictions(z: Tensor, labels: Tensor, classes: int, ridge: float, weights: Tensor) -> Tensor:
    """f (n, k) by the n×n hat matrix, differentiable in the weights."""
    y = one_hot(labels, classes)
    inverse = torch.linalg.inv(z.T @ (weights[:, None] * z) + ridge * torch.eye(z.shape[1]).double())
    hat = z @ inverse @ (z * weights[:, None]).T
    return y - (y - hat @ y) / (1 - hat.diagonal())[:, None]


def loss(
    z: Tensor,
    labels: Tensor,
    classes: int,
    ridge: float,
    weights: Tensor,
    loss: Loss,
    validating: Tensor | None = None,
) -> Tensor:
    """L(α): the mean validation loss over the validating rows; which rows validate is not differentiated."""
    f = loo_predictions(z, labels, classes, ridge, weights)
    v = loss.validates(f.detach(), labels).double()
    if validating is not None:
        v = v * validating
    return (v * loss.values(f, labels)).sum() / v.sum()


def union_loss(
    z: Tensor, labels: Tensor, classes: int, ridge: float, weights: Tensor, loss_: Loss, validates: Tensor
) -> Tensor:
    """The same over members and pool together, the pool at weight 0; ``validates`` says which rows may."""
    return loss(z, labels, classes, ridge, weights, loss_, validates)


def validation_loss(
    z: Tensor, labels: Tensor, classes: int, ridge: float, weights: Tensor, loss_: Loss, zv: Tensor, yv: Tensor
) -> Tensor:
    """L(α) on a separate validation set, by the model's plain predictions."""
    f = zv @ head(z, labels, classes, ridge, weights)
    v = loss_.validates(f.detach(), yv).double()
    return (v * loss_.values(f, yv)).sum() / v.sum()


def gradient(function, weights: Tensor) -> Tensor:
    """∂function/∂weights by automatic differentiation."""
    alpha = weights.clone().requires_grad_(True)
    (result,) = torch.autograd.grad(function(alpha), alpha)
    return result


def reweight(z, labels, classes, ridge, loss_: Loss, steps: int, step_size: float) -> Tensor:
    """Steps of normalised gradient descent by automatic differentiation."""
    alpha = torch.ones(len(z)).double()
    for _ in range(steps):
        g = gradient(lambda a: loss(z, labels, classes, ridge, a, loss_), alpha)
        alpha = (alpha - step_size * g / g.abs().max()).clamp_min(0)
    return alpha


def temperature(z, labels, classes, ridge, weights: Tensor, grid: Tensor) -> float:
    """The grid's temperature of least mean cross-entropy of the leave-one-out predictions."""
    f = loo_predictions_by_refits(z, labels, classes, ridge, weights)
    entropy = [torch.nn.functional.cross_entropy(t * f, labels) for t in grid]
    return float(grid[torch.stack(entropy).argmin()])


def extend_order_calibrated(gain: Tensor, margin: Tensor, trim: bool, threshold: float) -> list[int]:
    """The calibrated rule, by sorting lists: candidates by the sum of two ranks, earlier index first."""
    candidates = [j for j in range(len(gain)) if gain[j] < 0 and (margin[j] > -threshold or not trim)]
    by_gain = sorted(candidates, key=lambda j: float(gain[j]))
    by_margin = sorted(candidates, key=lambda j: abs(float(margin[j])))
    return sorted(candidates, key=lambda j: by_gain.index(j) + by_margin.index(j))


def group_predictions_by_refits(
    z: Tensor, labels: Tensor, classes: int, ridge: float, weights: Tensor, groups: Tensor
) -> Tensor:
    """f (n, k): a model for each group, trained without any of its rows."""
    f = torch.zeros(len(z), classes).double()
    for group in groups.unique():
        mine = groups == group
        f[mine] = z[mine] @ head(z, labels, classes, ridge, weights * ~mine)
    return f


def group_predictions(z: Tensor, labels: Tensor, classes: int, ridge: float, weights: Tensor, groups: Tensor) -> Tensor:
    """f (n, k) by the n×n hat matrix and its parts, differentiable in the weights."""
    y = one_hot(labels, classes)
    inverse = torch.linalg.inv(z.T @ (weights[:, None] * z) + ridge * torch.eye(z.shape[1]).double())
    hat = z @ inverse @ (z * weights[:, None]).T
    same = (groups[:, None] == groups).double()
    return y - torch.linalg.solve(torch.eye(len(z)) - same * hat, y - hat @ y)


def group_loss(z, labels, classes, ridge, weights: Tensor, loss_: Loss, groups: Tensor, importance: Tensor) -> Tensor:
    """L(α) with groups left out; how often a row validates is not differentiated."""
    f = group_predictions(z, labels, classes, ridge, weights, groups)
    v = loss_.validates(f.detach(), labels).double() * importance
    return (v * loss_.values(f, labels)).sum() / v.sum()


def class_mean_similarities(z: Tensor, labels: Tensor, classes: int) -> Tensor:
    """2zᵀμ − ‖μ‖² (n, k), each class's mean taken anew without the row."""
    s = torch.full((len(z), classes), -torch.inf, dtype=torch.float64)
    for i in range(len(z)):
        for c in range(classes):
            rows = [j for j in range(len(z)) if j != i and labels[j] == c]
            if rows:
                mean = z[rows].mean(0)
                s[i, c] = 2 * z[i] @ mean - mean @ mean
    return s


def flagged_by_class(scores, given, predicted, confidence, classes: int) -> list[int]:
    """The rule `rate` with its classes, of one predictor, by sorting lists: rows of highest scores, earlier first."""
    n = len(given)

    def tail(count: int, trials: int, base: float) -> float:
        return sum(math.comb(trials, i) * base**i * (1 - base) ** (trials - i) for i in range(count, trials + 1))

    def surest(rows: list[int], size: int) -> list[int]:
        return sorted(rows, key=lambda i: -confidence[i])[:size]

    def rate(rows: list[int]) -> float:
        return sum(predicted[i] != given[i] for i in rows) / len(rows)

    ranked = sorted(range(n), key=lambda i: -scores[i])
    epsilon = rate(surest(list(range(n)), max(round(0.3 * n), 50)))
    flagged = {i for i in ranked[: round(epsilon * n)] if predicted[i] != given[i]}
    for a in range(classes):
        rows = [i for i in range(n) if predicted[i] == a]
        some = surest(rows, max(1, round(0.3 * len(rows))))
        wrong = sum(given[i] != a for i in some)
        if wrong and tail(wrong, len(some), max(epsilon, 0.01)) < 0.01 / classes:
            others = [i for i in ranked if predicted[i] == a and given[i] != a]
            flagged |= set(others[: round(rate(some) * len(rows))])
    return sorted(flagged)


def expected_variance(z: Tensor, pool: Tensor, uncertainty: Tensor, ridge: float) -> float:
    """Σ u xᵀCx over the rows of a pool, C = (ZᵀZ + λI)⁻¹ of what is labelled."""
    inverse = torch.linalg.inv(z.T @ z + ridge * torch.eye(z.shape[1]).double())
    return float((uncertainty * (pool @ inverse * pool).sum(1)).sum())


def suggested(z: Tensor, pool: Tensor, uncertainty: Tensor, ridge: float, budget: int) -> list[tuple[int, float]]:
    """The pool's rows that make the expected variance least, one after the other by refits, each with what is left."""
    chosen: list[tuple[int, float]] = []
    for _ in range(budget):
        rows = {j: torch.cat([z, pool[j : j + 1]]) for j in range(len(pool)) if j not in dict(chosen)}
        values = {j: expected_variance(more, pool, uncertainty, ridge) for j, more in rows.items()}
        best = min(values, key=lambda j: values[j])
        chosen.append((best, values[best]))
        z = rows[best]
    return chosen


def vote_posterior(prior: Tensor, votes: Tensor, quality: Tensor) -> Tensor:
    """P(class | votes) (n, k) by Bayes' rule, class by class, vote by vote."""
    n, k = prior.shape
    p = torch.ones(n, k).double()
    for i in range(n):
        for c in range(k):
            p[i, c] = prior[i, c]
            for a, vote in enumerate(votes[i].tolist()):
                if vote >= 0:
                    p[i, c] *= quality[a] if vote == c else (1 - quality[a]) / (k - 1)
    return p / p.sum(1, keepdim=True)


def value_of_a_vote(p: Tensor, quality: float) -> Tensor:
    """How much likelier the likeliest class is right after one more vote (n,), over all that the vote may say."""
    k = p.shape[1]
    values = []
    for row in p:
        after = 0.0
        for said in range(k):
            joint = [float(row[c]) * (quality if said == c else (1 - quality) / (k - 1)) for c in range(k)]
            after += max(joint)
        values.append(after - float(row.max()))
    return torch.tensor(values, dtype=torch.float64)


def target_head(z: Tensor, y: Tensor, ridge: float, weights: Tensor) -> Tensor:
    """The minimiser of Σ α ‖y − Wᵀz‖² + λ‖W‖² for any targets (n, q)."""
    d = torch.diag(weights)
    return torch.linalg.solve(z.T @ d @ z + ridge * torch.eye(z.shape[1]).double(), z.T @ d @ y)


def target_predictions_by_refits(z: Tensor, y: Tensor, ridge: float, weights: Tensor) -> Tensor:
    """f (n, q): n models, each trained without one row."""
    without = [weights * (torch.arange(len(z)) != i) for i in range(len(z))]
    return torch.stack([z[i] @ target_head(z, y, ridge, alpha) for i, alpha in enumerate(without)])


def target_loss(
    z: Tensor, y: Tensor, ridge: float, weights: Tensor, kind: str, temperature: float, trim: bool
) -> Tensor:
    """L(α) of entries or squares, by the n×n hat matrix; which entries validate is not differentiated."""
    inverse = torch.linalg.inv(z.T @ (weights[:, None] * z) + ridge * torch.eye(z.shape[1]).double())
    hat = z @ inverse @ (z * weights[:, None]).T
    f = y - (y - hat @ y) / (1 - hat.diagonal())[:, None]
    if kind == "squared":
        losses = (f - y) ** 2 / 2
    else:
        p = torch.sigmoid(temperature * (f - 0.5))
        losses = -(y * p.log() + (1 - y) * (1 - p).log())
    gap = (f.detach() - y).abs()
    hopeless = gap >= 3 * 1.4826 * gap.median() if kind == "squared" else (2 * y - 1) * (2 * f.detach() - 1) <= -0.25
    v = ~hopeless | torch.tensor(not trim)
    return (v * losses).sum() / v.sum()


def hypergeometric_tail(wrong: int, samples: int, total: int, n: int) -> float:
    """P(X ≥ wrong): ``samples`` of n drawn, of which ``total`` count, by counting the draws."""
    draws = sum(math.comb(total, x) * math.comb(n - total, samples - x) for x in range(wrong, min(samples, total) + 1))
    return draws / math.comb(n, samples)


def discovery_rates(p: list[float]) -> list[float]:
    """Benjamini and Hochberg's q: the least level at which each of these tests is rejected."""
    ordered = sorted(p)
    return [
        min(1.0, min(ordered[rank] * len(p) / (rank + 1) for rank in range(len(p)) if ordered[rank] >= one))
        for one in p
    ]


def drift(rows: np.ndarray, core: np.ndarray, folds: int) -> float:
    """Mean product of differences in mean of two folds, over all ordered pairs, by the core's variance."""
    d = [rows[fold::folds].mean(0) - core[fold::folds].mean(0) for fold in range(folds)]
    products = [d[s] @ d[t] for s in range(folds) for t in range(folds) if s != t]
    return float(np.mean(products) / core.var(0, ddof=1).sum())
