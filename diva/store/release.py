"""The release: the newest curated set as a training set, with or without its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from diva.store import curated, index, ledger, manifest, paths, tables
from diva.text.targets import label_names

TRAIN: tables.Schema = tables.OpenSchema({
    "sample_id": pl.String,
    "path": pl.String,
    "label": pl.String,
    "given_label": pl.String,
    "suggested_label": pl.String,
    "flagged": pl.Boolean,
    "weight": pl.Float64,
    "origin": pl.String,
    "round": pl.String,
    "batch": pl.String,
    "margin": pl.Float64,
    "derivative": pl.Float64,
    "reason": pl.String,
    "group": pl.String,  # what was left out together with it; null where it stood by itself
})  # fmt: skip
REMOVED: tables.Schema = tables.OpenSchema(
    {**{name: dtype for name, dtype in TRAIN.items() if name != "weight"}, "score": pl.Float64}
)
WEIGHTS: tables.Schema = {
    "sample_id": pl.String,
    "weight": pl.Float64,
    "derivative": pl.Float64,
    "margin": pl.Float64,
}


ENTRIES: tables.Schema = {
    "sample_id": pl.String,
    "label": pl.String,  # one of several
    "given": pl.Boolean,  # whether the sample has it: if not, it is called missing, else wrong
    "flagged": pl.Boolean,  # whether the sample is a member that is called wrong; else the label was changed
    "score": pl.Float64,  # of the sample
}
COLUMNS = [name for name in curated.SCHEMA if name in {*TRAIN, *REMOVED, "status", "row"}]  # of a set, that it takes
UNCHOSEN = "none"  # the round of samples that no round chose
FEWEST = 2  # samples of a class that stay in the training set, whatever is called wrong


class Verdict(NamedTuple):
    """Whether the release keeps its weights, and why."""

    weighted: bool
    reason: str


def verdict(setting: str, held_out: Mapping[str, Any] | None) -> Verdict:
    """Whether weights are used: ``always``, ``never``, or (``auto``) where held-out rows gain by them.

    Args:
        setting: of ``release.weights``.
        held_out: errors ``with_weights`` and ``without_weights``, and the ``gain`` of rows of the core with its
            ``standard_error``, which it must exceed; versions of old have no gain, and errors alone decided. None where
            nothing was held out.
    """
    if setting in ("always", "never"):
        return Verdict(setting == "always", f"release.weights is {setting}")
    figures = held_out or {}
    errors = [figures.get(name) for name in ("with_weights", "without_weights")]
    better, worse = (error if isinstance(error, int | float) else float("nan") for error in errors)
    if better != better or worse != worse:
        return Verdict(weighted=False, reason="no held-out comparison was made; all weights are 1")
    reason, weighted = f"held-out error {better:.4g} with weights, {worse:.4g} without", better < worse
    if "gain" in figures:
        reason += f" (gain {figures['gain']:.2g}, standard error {figures['standard_error']:.2g})"
        weighted = figures["gain"] > figures["standard_error"]
    return Verdict(weighted, reason if weighted else f"{reason}; all weights are 1")


def has_others(weights: pl.DataFrame, state: pl.DataFrame) -> bool:
    """Whether more is weighed than the members of a set, each of which has a weight."""
    return len(weights) > int((state["status"] == "member").sum())


def complete(
    state: pl.DataFrame, weights: pl.DataFrame, pool: pl.DataFrame, review: pl.DataFrame, calls: pl.DataFrame | None
) -> pl.DataFrame:
    """The set, and after it the rest of the pool where that is weighed too (``reweight.over``, ``release.set``).

    Args:
        state: a curated set, or some columns of it.
        weights: of its members, and of the rest of the pool or not.
        pool: the newest index.
        review: the decisions of people that the set obeys, and so does the rest of the pool.
        calls: flags of the rest of the pool (`curated.CHANGES`), below people's decisions; None where it has none.
    """
    weighed = curated.without(pool.filter(pl.col("sample_id").is_in(weights["sample_id"].implode())), state)
    entered = curated.reviewed(curated.entered(weighed, "pool", UNCHOSEN).select(state.columns), review)
    if calls is not None:
        undecided = calls.join(entered, on="sample_id", how="semi").join(review, on="sample_id", how="anti")
        entered = curated.apply(UNCHOSEN, entered, undecided, pool, tables.empty(curated.REVIEW))
    return curated.ordered(pl.concat([state, entered]))


def to_weigh(over: str, state: pl.DataFrame, pool: pl.DataFrame, review: pl.DataFrame) -> pl.DataFrame:
    """Members of a set; with ``everything``, also what the pool still holds, as people left it."""
    members = state.filter(pl.col("status") == "member")
    if over == "members":
        return members
    rest = curated.reviewed(curated.without(pool.select(curated.ROWS), state), review)
    return pl.concat([members.select(curated.ROWS), rest])


def read_calls() -> pl.DataFrame | None:
    """Which labels of samples that no round chose are called wrong; None where these are not in the release."""
    return tables.read(paths.CALLS, curated.CHANGES) if paths.CALLS.exists() else None


def write_calls(calls: pl.DataFrame | None) -> None:
    """Keep them beside the weights; None leaves no file."""
    paths.CALLS.unlink(missing_ok=True)
    if calls is not None:
        tables.write(paths.CALLS, calls, curated.CHANGES)


def weighed(state: pl.DataFrame, weights: pl.DataFrame, pool: pl.DataFrame, review: pl.DataFrame) -> pl.DataFrame:
    """Members of a set, and the rest of the pool where that is weighed too; with their weights."""
    members = complete(state, weights, pool, review, read_calls()).filter(pl.col("status") == "member")
    return members.join(weights.select("sample_id", "weight"), on="sample_id", how="left", maintain_order="left")


def obeyed(book: ledger.Ledger) -> pl.DataFrame:
    """The decisions of people that the newest set obeys."""
    return tables.read(paths.review(ledger.obeyed_review(book)), curated.REVIEW)


def frames(
    state: pl.DataFrame,
    weights: pl.DataFrame,
    weighted: bool,
    flagged: str = "keep",
    groups: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training set and removed samples.

    Args:
        state: a curated set.
        weights: weight, newest derivative and margin of every member.
        weighted: whether the weights are used; otherwise each is 1.
        flagged: ``out``: members whose label is called wrong leave; ``keep``: they train, too.
        groups: sample_id and group of samples that have one.

    Raises:
        ValueError: a member without a weight, or one that is negative or not finite.
    """
    newest = weights.select("sample_id", "weight", new_derivative="derivative", new_margin="margin")
    names = tables.empty(index.RELATIVES) if groups is None else groups
    joined = curated.with_columns_of(state, names, newest).with_columns(
        pl.coalesce("new_derivative", "derivative").alias("derivative"),
        pl.coalesce("new_margin", "margin").alias("margin"),
    )
    trains = joined["status"] == "member"
    members = joined.select("sample_id", "label", "flagged", "margin", "weight").filter(trains)
    bad = members.filter(~(pl.col("weight").is_finite() & (pl.col("weight") >= 0)).fill_null(value=False))["sample_id"]
    if len(bad):
        raise ValueError(f"weights must be finite and ≥ 0 for every member, got {len(bad)} others (first: {bad[0]}).")
    if flagged == "out":
        trains &= ~joined["sample_id"].is_in(left_out(members)["sample_id"].implode())
    weight = pl.col("weight") if weighted else pl.lit(1.0).alias("weight")
    train = joined.select(weight if name == "weight" else name for name in TRAIN).filter(trains)
    return train, joined.select(list(REMOVED)).filter(~trains)


def with_targets(frame: pl.DataFrame) -> pl.DataFrame:
    """A table of the release, and in its column ``target`` its labels as lists of names, or as numbers."""
    task = manifest.task()
    if task == "classification":
        return frame
    return frame.with_columns(
        manifest.typed(task).alias("target" if "target" not in frame.columns else "target_of_label")
    )


def entries(state: pl.DataFrame) -> pl.DataFrame:
    """Which of several labels are called missing or wrong, a row each (`ENTRIES`); most suspicious samples first."""
    called = state.filter(curated.called_wrong() & pl.col("suggested_label").is_not_null())
    made = [
        (sample_id, name, name in given, flagged, score)
        for sample_id, label, suggested, flagged, score in called.sort("score", descending=True)
        .select("sample_id", "given_label", "suggested_label", "flagged", "score").iter_rows()
        for given in [set(label_names(label))]
        for name in sorted(given ^ set(label_names(suggested)))
    ]  # fmt: skip
    return pl.DataFrame(made, dict(ENTRIES), orient="row")


def left_out(members: pl.DataFrame) -> pl.DataFrame:
    """The ids of members whose label is called wrong, but for the least suspicious of a class that needs them.

    Of every class two samples stay, or as many as it has.
    """
    order = members.select("sample_id", "label", "flagged", "margin").sort(
        "flagged", pl.col("margin").fill_null(0).fill_nan(0), descending=[False, True], maintain_order=True
    )
    position = pl.int_range(pl.len()).over(manifest.class_of(manifest.task()))
    return order.filter(pl.col("flagged") & (position >= FEWEST)).select("sample_id")


def read_removed(path: Path, *, further: bool = False) -> pl.DataFrame:
    """Removed samples; those of versions of old come without a score; ``further``: with what deliveries say beside."""
    frame = tables.parse(tables.read_parquet, path, "parquet file")
    if "score" not in frame.columns:
        frame = frame.with_columns(score=pl.lit(None, pl.Float64))
    return tables.conform(frame, REMOVED, str(path), further=further)


def summary(
    round_: str,
    state: pl.DataFrame,
    train: pl.DataFrame,
    judged: Verdict,
    setting: str,
    flagged: str = "keep",
    rows: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the release holds, and why it has the weights it has (and ``rows``: why these, where that was asked)."""
    came = state.filter(pl.col("origin") == "pool").group_by("round").len().sort("round").iter_rows()
    counts = curated.counts(state)
    gone = {"samples": len(train), "left_out": counts["members"] - len(train)} if flagged == "out" else {}
    return {
        "round": round_,
        **counts,
        **gone,
        **({"set": dict(rows)} if rows else {}),
        "added_in": dict(came),
        "classes": dict(manifest.in_classes(train).group_by("label").len().sort("label").iter_rows()),
        "weights": {
            "kept": judged.weighted,
            "setting": setting,
            "reason": judged.reason,
            "zero": int((train["weight"] == 0).sum()),
        },
    }
