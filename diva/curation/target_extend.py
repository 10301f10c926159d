"""Extend where a sample has several labels, or a number: which samples of a pool to add, round by round.

A sample of the pool is added where its first bit of weight lowers the leave-one-out loss of members and pool

    gain_j = ∂L/∂α_j / (1 + z_jᵀCz_j) < 0,    the least first,

and, where more than 5 % of the entries are hopeless (a margin of at most −¼; of numbers, beyond three deviations),
only where it is not hopeless itself; hopeless entries do not validate then. λ and T* are chosen on the core once and
kept; settings and results are those of `diva.curation.extend`. Rows are left out one by one.
"""

from dataclasses import replace

import torch
from torch import Tensor

from diva.curation.additions import Additions, RoundChoice, RoundSettings, Turn, check_budget, in_rounds, stop_reason
from diva.curation.candidates import earlier_of_class
from diva.curation.noise import Noise
from diva.numerics import products
from diva.numerics.chunks import Chained, Chunks, Subset
from diva.numerics.losses import NOISY, THRESHOLD
from diva.numerics.products import Workspace
from diva.numerics.ridge import RidgeModel
from diva.numerics.targets import (
    TargetFit,
    TargetLoss,
    TargetLossName,
    fit_targets,
    loo_predictions_of_targets,
    target_derivative,
    target_margins,
)

TRIMS = {"all": False, "trimmed": True}  # losses that do not ask the noise, as `calibrated` does


def outputs_of(chunks: Chunks, model: RidgeModel) -> Tensor:
    """zW (n, q) on the CPU."""
    return torch.cat([model.head[:0], *(products.times(z, model.head.to(z)).double() for z, _, _ in chunks)]).cpu()


def assess_target_noise(core: TargetFit, pool: Chunks, targets: Tensor, name: TargetLossName) -> Noise:
    """Shares of hopeless entries of a core and of a pool with targets (n, q), under the core's own model.

    Noisy as of classes: more than 5 % of the core, or a share of the pool above the core's by two standard errors.
    """
    seen, others = loo_predictions_of_targets(core).values, outputs_of(pool, core.model)
    margins = target_margins(name, torch.cat([seen, others]), torch.cat([core.targets, targets]))
    hopeless = (margins <= -THRESHOLD).double()
    of_core, of_pool = hopeless[: len(seen)], hopeless[len(seen) :]
    first, second = float(of_core.mean()), float(of_pool.mean()) if of_pool.numel() else 0.0
    deviation = (first * (1 - first) * (1 / of_core.numel() + 1 / max(1, of_pool.numel()))) ** 0.5
    return Noise(first, second, first > NOISY or second > max(first + 2 * deviation, NOISY / 2))


def extend_target_round(
    members: TargetFit,
    pool: Chunks,
    targets: Tensor,
    loss: TargetLoss,
    settings: RoundSettings,
    codes: Tensor | None = None,
) -> RoundChoice:
    """One round, as `diva.curation.extend.extend_round`.

    Args:
        members: core and what was added, each of weight 1, at the ridge of the core.
        pool: n candidates.
        targets: (n, q) of the candidates.
        loss: with ``trim``, the rule for noisy labels.
        settings: how much a round adds, and by whom it is judged.
        codes: (n,) which candidates have equal labels, for ``settings.per_class``.
    """
    n, n_pool, model = len(members.targets), len(targets), members.model
    weights = torch.cat([torch.ones(n), torch.zeros(n_pool)]).double()
    union = TargetFit(Chained([members.chunks, pool]), torch.cat([members.targets, targets]), model, weights)
    validating = None if settings.validate_on == "members_and_pool" else weights > 0
    values, mean = target_derivative(union, loss, validating)
    derivative = values[n:]
    work = Workspace()
    factor = torch.cat([model.root[0, :0], *(products.squares(z, model.root.to(z), work) for z, _, _ in pool)]).cpu()
    gain = derivative / (1 + factor)
    margin = target_margins(loss.name, *(loo_predictions_of_targets(union).values, union.targets))[n:].amin(1)
    candidate = gain < 0 if not loss.trim else (gain < 0) & (margin > -THRESHOLD)
    order = gain.argsort(stable=True)
    order = torch.cat([order[candidate[order]], *([] if settings.stop else [order[~candidate[order]]])])
    allowed = order
    if settings.per_class is not None and codes is not None:
        allowed = order[earlier_of_class(codes[order]) < settings.per_class]
    per_round, eligible, waiting = settings.size(n_pool), int(candidate.sum()), len(allowed) < len(order)
    stop = stop_reason(mean == mean, eligible, per_round, n_pool, settings.stop, waiting)
    return RoundChoice(
        allowed[:per_round], derivative, gain, margin, eligible, float(len(union.targets)), mean, stop, factor, model
    )


def extend_targets(
    core: TargetFit, pool: Chunks, targets: Tensor, loss: TargetLoss, budget: int | None, settings: RoundSettings
) -> Additions:
    """Rounds until no candidate is left, the budget is spent, or (with ``stop=False``) the pool is used up.

    Args:
        core: rows one starts from, each of weight 1.
        pool: n candidates.
        targets: (n, q) of the candidates.
        loss: of entries or squares; ``trim`` is the rule for noisy labels.
        budget: samples added in all, or None.
        settings: of each round.

    Raises:
        ValueError: if ``budget`` or ``per_round`` is out of range.
    """

    def turn(unused: Tensor, limits: RoundSettings, last: Turn | None) -> RoundChoice:
        members = core
        if last is not None:
            together = Chained([core.chunks, Subset(pool, ~unused)])
            members = fit_targets(together, torch.cat([core.targets, targets[~unused]]), core.model.ridge)
        return extend_target_round(members, Subset(pool, unused), targets[unused], loss, limits)

    return in_rounds(len(targets), check_budget(budget, len(targets), settings), settings, turn)


def target_rule(name: str, core: TargetFit, pool: Chunks, targets: Tensor, loss: TargetLoss) -> TargetLoss:
    """The loss of Extend: `calibrated` is trimmed where the labels are noisy, `trimmed` always, `all` never.

    Raises:
        ValueError: on another name.
    """
    if name not in ("calibrated", *TRIMS):
        raise ValueError(f"loss must be one of calibrated, {', '.join(TRIMS)}, got {name!r}.")
    trim = TRIMS[name] if name in TRIMS else assess_target_noise(core, pool, targets, loss.name).noisy
    return replace(loss, trim=trim)
