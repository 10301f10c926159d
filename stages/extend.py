"""Stage ``extend``: what a round adds, and what it calls wrong among members and additions; it only decides."""

import logging
import math

import polars as pl
import torch

from diva.curation.extend import Noise, RoundChoice, RoundSettings, assess_noise, extend_round
from diva.methods import registry
from diva.numerics.losses import Loss
from diva.numerics.precision import fit_ridge
from diva.store import curated, index, ledger, paths, tables
from diva.store.curated import reviewed
from stages import rows, sums
from stages.command import run
from stages.params.curate import Curate
from stages.params.extend import Extend
from stages.params.section import validate
from stages.scored import suspicion, table
from stages.sums import Counted

logger = logging.getLogger(__name__)

ACTIONS = {"weigh": "flag", "drop": "remove", "relabel": "relabel"}


def extend(round: str) -> None:  # noqa: A002  # the option's name
    """data/rounds/<round>.parquet, from what the round's ledger entry names and nothing else; the new set's moments."""
    entry = ledger.round_(ledger.read(), round)
    where = f"{paths.LEDGER}:rounds.{round}.settings"
    settings = validate(entry.settings.get("extend"), Extend, f"{where}.extend")
    clean_up = validate(entry.settings.get("curate"), Curate, f"{where}.curate")
    state, pool = curated.read(entry.previous), index.read(paths.pool(entry.pool))
    review = curated.possible(tables.read(paths.review(entry.review), curated.REVIEW), state, pool)
    fit = rows.read_fit()
    classes = fit.with_classes(pool["label"])
    members = rows.counted(reviewed(present(state, review), review), entry.previous, pool, classes, fit)
    unused = reviewed(pool.join(state, on="sample_id", how="anti", maintain_order="left"), review)
    turn, noise = choose(members, unused, pool, classes, fit, settings, state, review)
    added = unused[turn.index.tolist()]
    judged = pl.concat([frame.select("sample_id", "label", "features", "row") for frame in (members.rows, added)])
    found = suspicion(rows.prepared(judged, classes, fit), len(classes), fit.ridge, clean_up.score, clean_up)
    scored = table(judged["sample_id"], found, classes)
    undecided = scored.join(review, on="sample_id", how="anti", maintain_order="left")
    decisions = pl.concat([additions(added["sample_id"], turn, scored), changes(undecided, ACTIONS[clean_up.action])])
    tables.write(paths.decisions(round), decisions, curated.DECISIONS)
    after = curated.apply(round, state, tables.conform(decisions, curated.DECISIONS, "decisions"), pool, review)
    kept = rows.moments_of(sums.members(after), members, classes, fit)
    sums.write_round(round, kept, classes, pool, after)
    report(round, entry.pool, turn, noise, decisions)


def present(state: pl.DataFrame, review: pl.DataFrame) -> pl.DataFrame:
    """Members, and among them what people brought back."""
    back = review.filter(pl.col("decision") != "reject")["sample_id"]
    return state.filter((pl.col("status") == "member") | pl.col("sample_id").is_in(back.implode()))


def choose(
    members: Counted,
    unused: pl.DataFrame,
    pool: pl.DataFrame,
    classes: list[str],
    fit: rows.Fit,
    settings: Extend,
    state: pl.DataFrame,
    review: pl.DataFrame,
) -> tuple[RoundChoice, Noise]:
    """One turn of Extend; the noise is judged on the whole pool, under the core's own model.

    What people took down counts nowhere, also not in the core's moments.
    """
    stored = sums.core(classes)
    core = reviewed(stored.rows, review)
    k = len(classes)
    core_fit = fit_ridge(
        rows.prepared(core, classes, fit), k, fit.ridge, sums=rows.moments_of(core, stored, classes, fit)
    )
    noise = assess_noise(core_fit, rows.prepared(reviewed(pool, review), classes, fit))
    calibrated = settings.loss == "calibrated"
    loss = Loss(settings.loss, fit.temperature if calibrated else 1.0, trim=noise.noisy or not calibrated)
    ours, theirs = rows.prepared(members.rows, classes, fit), rows.prepared(unused, classes, fit)
    preferred = None if settings.choose == "derivative" else order(settings.choose, ours, theirs, k)
    limits = RoundSettings(size(settings, len(pool), state), settings.per_class, settings.validate_on, settings.stop)
    member_fit = fit_ridge(ours, k, fit.ridge, sums=members.moments)
    return extend_round(member_fit, theirs, loss, limits, preferred=preferred), noise


def order(method: str, members: rows.Rows, unused: rows.Rows, classes: int) -> torch.Tensor:
    """Positions of the unused samples, best first, by a method other than the derivative."""
    if not unused.shape[0]:
        return torch.zeros(0, dtype=torch.int64)
    return registry.order(method, *rows.gathered(members), *rows.gathered(unused), classes=classes)


def size(settings: Extend, pool: int, state: pl.DataFrame) -> int:
    """How many samples this round may add: ``per_round``, and no more than the budget has left."""
    most = settings.per_round if isinstance(settings.per_round, int) else max(1, int(settings.per_round * pool))
    spent = int((state["origin"] == "pool").sum())
    return most if settings.budget is None else min(most, max(0, settings.budget - spent))


def additions(sample_id: pl.Series, turn: RoundChoice, scored: pl.DataFrame) -> pl.DataFrame:
    """Decisions to add, in the order chosen."""
    gains = turn.gain[turn.index].numpy()
    chosen = pl.DataFrame(
        {
            "sample_id": sample_id,
            "change": ["add"] * len(sample_id),
            "derivative": turn.derivative[turn.index].numpy(),
            "margin": turn.margin[turn.index].numpy(),
            "reason": [f"adding it changes the validation loss by about {gain:.2e}" for gain in gains],
        },
        schema_overrides={"sample_id": pl.String, "change": pl.String, "reason": pl.String},
    )
    judged = scored.select("sample_id", "score", "suggested_label")
    return chosen.join(judged, on="sample_id", how="left", maintain_order="left").select(list(curated.DECISIONS))


def changes(scored: pl.DataFrame, change: str) -> pl.DataFrame:
    """Decisions on samples whose label is called wrong."""
    reason = pl.format("called {} at margin {}", "suggested_label", pl.col("margin").round(3))
    return scored.filter("flagged").with_columns(change=pl.lit(change), reason=reason).select(list(curated.DECISIONS))


def report(name: str, pool: str, turn: RoundChoice, noise: Noise, decisions: pl.DataFrame) -> None:
    """Metrics of the round and a line for the log."""
    count = dict(decisions.group_by("change").len().iter_rows())
    metrics = {
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
    tables.write_json(paths.METRICS / "rounds" / f"{name}.json", metrics)
    more = turn.stop or "more to come"
    logger.info("%s: %d of %d candidates added; %s", name, len(turn.index), turn.candidates, more)


if __name__ == "__main__":
    run(extend, "round")
