"""Extend: which samples of a pool to add, round by round.

A pool sample has α_j = 0 and does not take part in the leave-one-out loss as a member; its derivative says what a
first bit of weight would do, and

    gain_j = ∂L/∂α_j / (1 + z_jᵀ C z_j)        is the first-order term of the whole step 0 → 1.

One round adds candidates and recomputes; λ and T* are chosen on the core once and kept. The rules:

    calibrated   candidates: gain < 0, and where the labels are noisy m > −τ;  order: rank(gain) + rank(|m|)
    any other    candidates: ∂L/∂α < 0;  order: most negative first (the paper's); `trimmed` takes m ≤ −τ last

Noisy: more than 5 % hopeless rows (m ≤ −τ) in the core, or significantly more in the pool than in the core, both
under the core's own model. Fewer candidates than a round may add: they are added and Extend stops.

Reference: Dukler et al., ICLR 2022, Sec. 4 (`hard_margin`, most negative first); the `calibrated` rule is ours.
"""

import torch
from torch import Tensor

from diva.curation.additions import Additions, RoundChoice, RoundSettings, Turn, check_budget, in_rounds, stop_reason
from diva.curation.candidates import choose, earlier_of_class
from diva.curation.noise import assess_noise, join_groups, with_pool
from diva.curation.reweight import prepare_loss
from diva.numerics import products
from diva.numerics.adjoint import Adjoint, member_pass, outsider_adjoint
from diva.numerics.chunks import Chained, Chunks, Subset
from diva.numerics.derivative import RowDerivatives, member_derivatives, outsider_derivatives
from diva.numerics.gathering import gathered, labels_of
from diva.numerics.losses import Loss
from diva.numerics.parallel import over_parts
from diva.numerics.precision import RidgeFit
from diva.numerics.products import Workspace
from diva.numerics.ridge import Moments, RidgeModel, moments, solve
from diva.text.choices import LossName

UPDATED = 0.25  # rows added, per feature, up to which g of the pool is updated rather than computed again


def extend_round(
    members: RidgeFit,
    pool: Chunks,
    loss: Loss,
    settings: RoundSettings,
    *,
    preferred: Tensor | None = None,
    leverage_factor: Tensor | None = None,
    groups: Tensor | None = None,
) -> RoundChoice:
    """One round: which of the unused pool samples to add.

    Args:
        members: core and what was added, each of weight 1, at the ridge of the core.
        pool: the candidates not used so far.
        loss: with the T* of the core; a `calibrated` loss with ``trim`` is the rule for noisy labels.
        settings: how much a round adds, and by whom it is judged.
        preferred: positions in the pool, best first, by another method; it then chooses, every sample is a candidate,
            and the derivative is only reported.
        leverage_factor: g (n_pool,) under the members' model (`downdate`); None computes it.
        groups: (n_pool,) of the pool, numbered as those of the members (`with_pool`); None for none.
    """
    pool, model, per_round = members.like(pool), members.model, settings.size(pool.shape[0])
    adjoint, rows = _pool_derivatives(
        members, pool, loss, settings.validate_on == "members_and_pool", leverage_factor, groups
    )
    derivative, margin, factor = rows.derivative.cpu(), rows.margin.cpu().double(), rows.leverage_factor.double()
    gain = derivative / (1 + factor.cpu())
    order, candidates = choose(derivative, gain, margin, loss, only_candidates=settings.stop)
    steered = adjoint.validating > 0
    if preferred is not None:
        order, candidates, steered = preferred.cpu(), len(preferred), True
    allowed = order
    if settings.per_class is not None:
        allowed = order[earlier_of_class(labels_of(pool)[order]) < settings.per_class]
    waiting = len(allowed) < len(order)
    return RoundChoice(
        allowed[: per_round if steered else 0], derivative, gain, margin, candidates, adjoint.validating, adjoint.mean,
        stop_reason(steered, candidates, per_round, len(margin), settings.stop, waiting), factor, model,
    )  # fmt: skip


def _pool_derivatives(
    members: RidgeFit,
    pool: Chunks,
    loss: Loss,
    pool_validates: bool,
    leverage_factor: Tensor | None,
    groups: Tensor | None,
) -> tuple[Adjoint, RowDerivatives]:
    """The second pass, over the members and, where it validates, the pool; the third over the pool."""
    model, n_pool, union = members.model, pool.shape[0], with_pool(members, pool, groups)
    if union is None:
        adjoint, _ = member_pass(members.chunks, model, loss)
        if pool_validates:
            adjoint = adjoint + outsider_adjoint(pool, model, loss)
        return adjoint, outsider_derivatives(pool, model, adjoint, loss if pool_validates else None, leverage_factor)
    validating = union.weights if not pool_validates else None  # the members weigh 1
    adjoint, seen = member_pass(union.chunks, model, loss, union.weights, validating, None, union.groups)
    of_pool = seen.take(slice(union.chunks.shape[0] - n_pool, None), seen.margin)
    nothing = torch.zeros(n_pool, dtype=torch.float64)
    return adjoint, member_derivatives(pool, model, adjoint, None, nothing, seen=of_pool)


@over_parts("leverage_factor")
def downdate(chunks: Chunks, leverage_factor: Tensor, model: RidgeModel, added: Tensor) -> Tensor:
    """g (n,) of pool rows after a model has been given further rows, from g before: a product n×p×r, not n×p×p.

        C' = C − CVᵀ (I + VCVᵀ)⁻¹ VC,   g' = g − ‖L⁻¹VCz‖²,   I + VCVᵀ = LLᵀ

    Args:
        chunks: rows of the pool, those added left out.
        leverage_factor: g (n,) under ``model``.
        model: before the addition.
        added: V (r, p).
    """
    turned = added.to(model.root) @ model.root  # VR, with C = RRᵀ
    gram = turned @ turned.T + torch.eye(len(turned)).to(turned)
    factor = torch.linalg.cholesky(gram)
    change = torch.linalg.solve_triangular(factor, turned @ model.root.T, upper=False).T
    out, work = leverage_factor.clone(), Workspace()
    for z, _, rows in chunks:
        part = products.times(z, change.to(z), work, "change")
        out[rows] -= torch.linalg.vector_norm(part, dim=1).double().square()
    return out.clamp_min_(0)


def extend(
    core: RidgeFit,
    pool: Chunks,
    *,
    loss: LossName = "calibrated",
    temperature: float | None = None,
    budget: int | None = None,
    settings: RoundSettings | None = None,
    groups: Tensor | None = None,
) -> Additions:
    """Rounds until no candidate is left, the budget is spent, or (with ``stop=False``) the pool is used up.

    Args:
        core: rows one starts from, with their model.
        pool: candidates, as tensors.
        loss: its name brings the whole rule (see the module).
        temperature: T* of `calibrated`; chosen on the core where None.
        budget: samples added in all, or None.
        settings: of each round.
        groups: (n_pool,) of the pool, numbered as those of the core; None for none.

    Raises:
        ValueError: if ``budget`` or ``per_round`` is out of range.
    """
    settings, pool = settings or RoundSettings(), core.like(pool)
    most, rule = check_budget(budget, pool.shape[0], settings), prepare_rule(loss, core, pool, temperature, groups)
    members, factor = core, None

    def turn(unused: Tensor, limits: RoundSettings, last: Turn | None) -> RoundChoice:
        nonlocal members, factor
        if last is not None:
            rows, factor = added_rows(pool, last.new, unused, last.choice)
            sums = members.moments + moments(rows, core.classes)
            members = enlarged(core, Subset(pool, ~unused), sums, groups, ~unused)
        waiting = None if groups is None else groups[unused]
        return extend_round(members, Subset(pool, unused), rule, limits, leverage_factor=factor, groups=waiting)

    return in_rounds(pool.shape[0], most, settings, turn)


def added_rows(pool: Chunks, new: Tensor, unused: Tensor, choice: RoundChoice) -> tuple[Chunks, Tensor | None]:
    """The rows that a round added, and g of those that stay unused; None where it costs less to compute it again."""
    rows = Subset(pool, torch.isin(torch.arange(pool.shape[0]), new))
    if len(new) > UPDATED * pool.shape[1]:
        return rows, None
    few, stays = gathered(rows), torch.ones_like(choice.leverage_factor, dtype=torch.bool)
    stays[choice.index.to(stays.device)] = False
    before = choice.leverage_factor[stays]
    return few, downdate(Subset(pool, unused), before, choice.model, few.features)


def enlarged(core: RidgeFit, added: Chunks, sums: Moments, groups: Tensor | None, chosen: Tensor) -> RidgeFit:
    """Core and added rows, whose moments are ``sums``; ``groups`` are the pool's, of which ``chosen`` were added.

    Cholesky anew: an update of the factor by r rows takes 2rp² of slower work against p³/3, and its inverse more.
    """
    together = join_groups(
        core.groups, core.chunks.shape[0], None if groups is None else groups[chosen], added.shape[0]
    )
    return RidgeFit(Chained([core.chunks, added]), sums, solve(sums, core.ridge), groups=together)


def prepare_rule(
    name: LossName, core: RidgeFit, pool: Chunks, temperature: float | None = None, groups: Tensor | None = None
) -> Loss:
    """The loss of Extend: for `calibrated`, T* of the core, trimmed only where the labels are noisy."""
    loss = prepare_loss(name, core, temperature)
    return loss if name != "calibrated" or assess_noise(core, pool, groups).noisy else loss.untrimmed()
