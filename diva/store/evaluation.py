"""Tables beside the metrics of ``evaluate``: errors by class, the curve of Reweight, rest of the pool, test set."""

import os
from collections.abc import Mapping
from typing import Any

import polars as pl

from diva.store import paths, tables
from diva.store.ledger import Ledger

REJECTED = "rejected by people"  # why a sample stays in the pool
WANTED = "wanted by people; the next round adds it"
HOPELESS = "label probably wrong"
HARMFUL = "would raise the validation loss"
WAITING = "a candidate; no room yet"
UNTOUCHED = "no round has drawn from the pool"
UNLABELLED = "no label yet"
INTERIM = "DIVA_INTERIM_ROUND"  # in the environment of ``evaluate``, of which DVC knows nothing; its metrics say it
CLASSES: tables.Schema = {
    "label": pl.String,
    "samples": pl.Int64,  # of the test set
    "core": pl.Float64,  # share of them that a head trained on the set gets wrong
    "release_weighted": pl.Float64,
    "release_unweighted": pl.Float64,
    "release_unflagged": pl.Float64,
    "release_unflagged_weighted": pl.Float64,
    "everything": pl.Float64,
}
STEPS: tables.Schema = {
    "step": pl.Int64,
    "loss": pl.Float64,  # leave-one-out, of the validating samples
    "error": pl.Float64,  # on the test set
    "low": pl.Float64,
    "high": pl.Float64,
}
REMAINING: tables.Schema = {
    "sample_id": pl.String,
    "path": pl.String,
    "batch": pl.String,
    "features": pl.String,
    "row": pl.Int64,
    "label": pl.String,
    "suggested_label": pl.String,
    "score": pl.Float64,
    "margin": pl.Float64,
    "derivative": pl.Float64,
    "gain": pl.Float64,
    "reason": pl.String,
}
AUDIT: tables.Schema = {
    "sample_id": pl.String,  # of the test set
    "path": pl.String,
    "label": pl.String,
    "suggested_label": pl.String,
    "score": pl.Float64,  # 1 − probability of the given label
    "margin": pl.Float64,
}
SLICES: tables.Schema = {
    "of": pl.String,  # labels: what is called wrong in core and pool; test: errors of the release's head
    "column": pl.String,
    "value": pl.String,
    "samples": pl.Int64,
    "wrong": pl.Int64,
    "rate": pl.Float64,  # wrong / samples, with its interval
    "low": pl.Float64,
    "high": pl.Float64,
    "rest": pl.Float64,  # the rate of all other samples
    "p": pl.Float64,
    "q": pl.Float64,
    "error": pl.Float64,  # share that the models without them mispredict; null where that is unknown
    "weight": pl.Float64,  # mean of what has one
}
PAIRS: tables.Schema = {
    "given": pl.String,
    "suggested": pl.String,
    "called": pl.Int64,  # labels called wrong
    "samples": pl.Int64,  # with the given label
    "rate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "q": pl.Float64,
}
DELIVERIES: tables.Schema = {
    "batch": pl.String,
    "samples": pl.Int64,  # with a label; null where too few to judge, as what follows
    "wrong": pl.Int64,
    "rate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "q": pl.Float64,
    "drift": pl.Float64,  # squared distance of its features' mean to the core's, in shares of the core's variance
    "drift_low": pl.Float64,
    "drift_high": pl.Float64,
    "alert": pl.String,  # labels, features, both or nothing
}
COLUMNS: tables.Schema = tables.OpenSchema({"sample_id": pl.String})  # of core and pool, with their further columns
SCHEMAS = {
    "classes": CLASSES, "steps": STEPS, "left": REMAINING, "audit": AUDIT,
    "slices": SLICES, "pairs": PAIRS, "deliveries": DELIVERIES, "columns": COLUMNS,
}  # fmt: skip


def read(name: str) -> pl.DataFrame:
    """One of the tables."""
    return tables.read(paths.evaluation(name), SCHEMAS[name], further=True)


def stored(name: str) -> pl.DataFrame:
    """One of the tables; empty where the last run was of a version that had none."""
    return read(name) if paths.evaluation(name).is_file() else tables.empty(SCHEMAS[name])


def write(name: str, frame: pl.DataFrame) -> None:
    """Write one of the tables."""
    tables.write(paths.evaluation(name), tables.conform(frame, SCHEMAS[name], name, further=True), SCHEMAS[name])


def found_nothing(counts: Mapping[str, Any]) -> bool:
    """Whether a round's metrics say that another one would add nothing."""
    return bool(counts["stop"] != "none" or counts["added"] == 0)


def interim_wanted(book: Ledger) -> bool:
    """Whether the ridge head judges the newest set alone: its night goes on, and its round left something to add."""
    if INTERIM not in os.environ or book.latest not in book.rounds:
        return False
    turn, total = (tables.read_json(paths.metrics(f"{kind}/{book.latest}")) for kind in ("rounds", "curate"))
    budget = book.rounds[book.latest].settings["extend"]["budget"]
    return not (found_nothing(turn) or (budget is not None and total["added"] >= budget))


def is_interim() -> bool:
    """Whether the newest set was judged by the ridge head alone, as the last round of a night is by every learner."""
    path = paths.metrics("evaluate")
    return path.is_file() and bool(tables.read_json(path).get("interim"))


def release_set(release: Mapping[str, Any]) -> str:
    """Name of the training set that the release is, by data/metrics/release.json; versions of old keep flagged ones."""
    weighted = "_weighted" if release.get("weighted") else ""
    return f"release_unflagged{weighted}" if release.get("flagged_out") else f"release{weighted or '_unweighted'}"


def warning(figures: Mapping[str, Any]) -> str:
    """What nobody may miss of the release's figures: that it is significantly worse than the core; else nothing."""
    mean = figures["panel"]["mean"] if figures.get("panel", {}).get("learners") else figures
    if not mean["difference_low"] > 0:
        return ""
    return (
        "WARNING: the release is worse than the core: its test error is higher by "
        f"{100 * mean['difference']:.1f} points [{100 * mean['difference_low']:.1f}, "
        f"{100 * mean['difference_high']:.1f}], the mean over the learners; train on the core, or look into the report."
    )
