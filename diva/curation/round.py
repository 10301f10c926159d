"""One round, whole: frames in, changes out.

    1. Decisions of people come first: what they rejected takes no part, what they relabelled counts under that label,
       and what they accepted or relabelled of the pool is added, above any score and before all others.
    2. Noise: the share of hopeless labels, in the core and in the pool, says whether the validation loss is trimmed.
    3. Choice: the unused samples of the pool in the order of the derivative, or of another method; at most
       ``per_round``, of a class at most ``per_class``, of all rounds together at most ``budget``.
    4. Clean-up: members and additions are scored once more; labels called wrong are flagged, removed or relabelled,
       but for those that people decided about.

The changes are applied by `diva.store.curated`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import polars as pl
import torch

from diva.curation import rows
from diva.curation.additions import RoundChoice, RoundSettings
from diva.curation.extend import extend_round
from diva.curation.noise import Noise, assess_noise
from diva.curation.suspicion import CleanUp, Methods, Scores, score
from diva.numerics.chunks import Chunks
from diva.numerics.losses import Loss
from diva.numerics.residence import rows_stay
from diva.numerics.ridge import Moments
from diva.store import curated, tables
from diva.store.curated import reviewed
from diva.store.moments import Counted
from diva.text.choices import CHANGE_OF, LossName, Task

DERIVATIVE = "derivative"  # what chooses unless another method does
COLUMNS = ("status", "origin", "given_label", "batch", *curated.ROWS)  # of the set before it, that it goes by
UNNAMED = "r"  # of the set after it, whose members do not depend on the round's name


@dataclass(frozen=True)
class Policy:
    """What a round may do.

    Attributes:
        choose: the derivative, or the method that chooses in its place.
        loss: of the derivative.
        addition: what may be added.
        budget: samples added in all rounds together; None for no limit.
        clean_up: what is done about labels called wrong.
    """

    choose: str
    loss: LossName
    addition: RoundSettings
    budget: int | None
    clean_up: CleanUp

    def limits(self, pool: int, spent: int) -> RoundSettings:
        """What Extend may add of ``pool`` samples, no more than the budget has left."""
        return self.addition.within(pool, None if self.budget is None else max(0, self.budget - spent))


@dataclass(frozen=True)
class Basis:
    """What a round starts from.

    Attributes:
        state: the set before it.
        pool: index of all samples that it may draw from.
        review: decisions of people.
        problem: of the core, with the classes of the pool.
        core: as ``fit`` took it, with its moments.
        stored: the members before it, or another set of which most are, with its moments.
        groups: what is left out together (`diva.store.index.groups`); None where nothing is.
    """

    state: pl.DataFrame
    pool: pl.DataFrame
    review: pl.DataFrame
    problem: rows.Problem
    core: Counted
    stored: Counted
    groups: pl.DataFrame | None = None

    @property
    def decisions(self) -> pl.DataFrame:
        """Those of people that a round on this pool can obey."""
        return curated.possible(self.review, self.state, self.pool)

    @property
    def unused(self) -> pl.DataFrame:
        """What of the pool is not in the set."""
        return curated.without(self.pool, self.state)

    @property
    def candidates(self) -> pl.DataFrame:
        """What a round may draw from: unused samples as people left them (sample_id, label, features, row)."""
        return reviewed(curated.without(self.pool.select(curated.ROWS), self.state), self.decisions)


@dataclass(frozen=True)
class Choice:
    """Members with their moments, what is added to them, what Extend says of all candidates, the noise that it went by.

    The first ``wanted`` of ``turn.index`` are there because people said so.
    """

    members: Counted
    added: pl.DataFrame
    turn: RoundChoice
    noise: Noise
    wanted: int


@dataclass(frozen=True)
class Outcome:
    """What a round changes, with the schema ``curated.CHANGES``; the moments of the set after it; how it chose.

    ``features`` are the checksums of the pool's files of features that samples of that set lie in.
    """

    changes: pl.DataFrame
    moments: Moments
    features: list[str]
    choice: Choice


@rows_stay()
def decide(basis: Basis, policy: Policy, methods: Methods, rule: "Rules | None" = None) -> Outcome:
    """A round, by the rules of the task."""
    rule = rule or CLASSES
    problem, decisions, choice = basis.problem, basis.decisions, rule.choose(basis, policy, methods)
    judged = pl.concat([frame.select(curated.ROWS) for frame in (choice.members.rows, choice.added)])
    scored = rule.score(judged, problem, policy.clean_up, methods, rows.group_numbers(judged, basis.groups)).table
    undecided = scored.filter("flagged").join(decisions, on="sample_id", how="anti", maintain_order="left")
    given = judged.select("sample_id", given_label="label")
    called = undecided.join(given, on="sample_id", how="left", maintain_order="left")
    parts = [additions(choice, scored), corrections(called, policy.clean_up, problem.task)]
    changes = tables.conform(pl.concat(parts), curated.CHANGES, "changes")
    after = curated.apply(UNNAMED, basis.state, changes, basis.pool, decisions, only=("status", *curated.ROWS))
    moments = rule.moments_of(curated.members(after), choice.members, problem)
    used = basis.pool["sample_id"].is_in(after["sample_id"].implode())
    features = basis.pool["checksum"].filter(used).unique().sort()
    return Outcome(changes, moments, features.to_list(), choice)


class Rules(NamedTuple):
    """How a round chooses, scores and sums where labels are of one kind: see `diva.curation.tasks`."""

    choose: Callable[[Basis, Policy, Methods], Choice]
    score: Callable[..., Scores]
    moments_of: Callable[[pl.DataFrame, Counted, rows.Problem], Moments]


def choose(basis: Basis, policy: Policy, methods: Methods) -> Choice:
    """What of the pool to add.

    The noise is judged on the whole pool, under the core's own model. What people took down counts nowhere, also not in
    the core's moments.
    """
    problem, decisions, classes = basis.problem, basis.decisions, len(basis.problem.classes)
    frame = reviewed(present(basis.state, decisions), decisions).select(curated.ROWS)
    members = Counted(frame, rows.moments_of(frame, basis.stored, problem))
    noise, candidates = noise_of(basis, decisions), basis.candidates
    member_fit, others = rows.fitted(members, problem, basis.groups), rows.prepared(candidates, problem)
    order = preferred(policy.choose, member_fit.chunks, others, classes, methods)
    wanted = wanted_by_people(candidates, decisions)
    spent = int((basis.state["origin"] == "pool").sum()) + len(wanted)
    limits, loss = policy.limits(len(basis.pool), spent), validation_loss(policy.loss, noise, problem)
    together = rows.group_numbers(candidates, basis.groups)
    turn = extend_round(member_fit, others, loss, limits, preferred=order, groups=together)
    index = torch.cat([wanted, turn.index[~torch.isin(turn.index, wanted)]])
    return Choice(members, candidates[index.tolist()], replace(turn, index=index), noise, len(wanted))


def noise_of(basis: Basis, decisions: pl.DataFrame) -> Noise:
    """What the core's own model says of the labels of core and pool; the pool's rows are let go of."""
    problem, groups, core = basis.problem, basis.groups, reviewed(basis.core.rows.select(curated.ROWS), decisions)
    fitted = rows.fitted(Counted(core, rows.moments_of(core, basis.core, problem)), problem, groups)
    pool = reviewed(basis.pool.select(curated.ROWS), decisions)
    return assess_noise(fitted, rows.prepared(pool, problem), rows.group_numbers(pool, groups))


CLASSES = Rules(choose, score, rows.moments_of)


def wanted_by_people(candidates: pl.DataFrame, decisions: pl.DataFrame) -> torch.Tensor:
    """Positions of the candidates whose label people let stand or gave."""
    wanted = candidates["sample_id"].is_in(decisions["sample_id"].implode())
    return torch.tensor(wanted.arg_true().to_list(), dtype=torch.int64)


def present(state: pl.DataFrame, decisions: pl.DataFrame) -> pl.DataFrame:
    """Members, and among them what people brought back."""
    back = decisions.filter(pl.col("decision") != "reject")["sample_id"]
    return state.filter((pl.col("status") == "member") | pl.col("sample_id").is_in(back.implode()))


def validation_loss(name: LossName, noise: Noise, problem: rows.Problem) -> Loss:
    """The loss; `calibrated` has the core's T*, and is trimmed where labels are noisy."""
    if name == "calibrated":
        return Loss(name, problem.temperature, trim=noise.noisy)
    return Loss(name)


def preferred(name: str, members: Chunks, unused: Chunks, classes: int, methods: Methods) -> torch.Tensor | None:
    """Positions of the unused samples, best first, where another method than the derivative chooses."""
    if name == DERIVATIVE:
        return None
    if not unused.shape[0]:
        return torch.zeros(0, dtype=torch.int64)
    return methods.order(name, *rows.gathered(members), *rows.gathered(unused), classes=classes)


def additions(choice: Choice, scored: pl.DataFrame) -> pl.DataFrame:
    """Changes that add, in the order chosen."""
    turn = choice.turn
    effects = [f"adding it changes the validation loss by about {gain:.2e}" for gain in turn.gain[turn.index].tolist()]
    people = [f"people want it; {effect}" for effect in effects[: choice.wanted]]
    chosen = pl.DataFrame(
        {
            "sample_id": choice.added["sample_id"],
            "change": ["add"] * len(choice.added),
            "derivative": turn.derivative[turn.index].numpy(),
            "margin": turn.margin[turn.index].numpy(),
            "reason": [*people, *effects[choice.wanted :]],
        },
        schema_overrides={"sample_id": pl.String, "change": pl.String, "reason": pl.String},
    )
    judged = scored.select("sample_id", "score", "suggested_label")
    return chosen.join(judged, on="sample_id", how="left", maintain_order="left").select(list(curated.CHANGES))


def corrections(scored: pl.DataFrame, clean_up: CleanUp, task: Task = "classification") -> pl.DataFrame:
    """Changes of samples whose label (``given_label``, where there may be several) is called wrong."""
    change = pl.lit(CHANGE_OF[clean_up.action])
    reason = pl.format("{} at margin {}", curated.call(task), pl.col("margin").round(3))
    return scored.filter("flagged").with_columns(change=change, reason=reason).select(list(curated.CHANGES))


def metrics(pool: str, outcome: Outcome) -> dict[str, Any]:
    """What a round on the index ``pool`` came to."""
    turn, noise = outcome.choice.turn, outcome.choice.noise
    count = dict(outcome.changes.group_by("change").len().iter_rows())
    return {
        "pool": pool,
        "added": count.get("add", 0),
        "removed": count.get("remove", 0),
        "relabelled": count.get("relabel", 0),
        "flagged": count.get("flag", 0),
        "candidates": turn.candidates,
        "noisy": noise.noisy,
        "hopeless_core": noise.core,
        "hopeless_pool": noise.pool,
        "validating": turn.validating,
        "loss": turn.loss if math.isfinite(turn.loss) else None,
        "stop": turn.stop or "none",
        **turn.model.accuracy,
    }
