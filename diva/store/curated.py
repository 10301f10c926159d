"""Curated sets: the core and all that rounds have added, as members or as removed; nothing is ever lost.

    set(r) = set(r−1) ∪ additions of r,    each row a member or removed

A round's changes (add, remove, relabel, flag; keep: newer values only) come from scores; decisions, the review, come
from people and stand above them:

    accept   the given label stands: the sample is a member, unflagged, whatever the scores say
    relabel  the sample is a member under that label, unflagged
    reject   the sample is removed

The given label never changes. All functions are pure; order and content depend on the arguments alone.
"""

from collections.abc import Collection
from pathlib import Path
from typing import get_args

import polars as pl

from diva.store import manifest, paths, tables
from diva.store.ledger import number
from diva.text.choices import CHANGE_OF, Change, Decision, Task
from diva.text.targets import Vocabulary, entry_faults

SCHEMA: tables.Schema = {
    "sample_id": pl.String,
    "path": pl.String,
    "batch": pl.String,
    "features": pl.String,
    "row": pl.Int64,
    "label": pl.String,  # as it stands now
    "given_label": pl.String,
    "suggested_label": pl.String,
    "flagged": pl.Boolean,
    "origin": pl.String,  # core or pool
    "round": pl.String,  # in which it came; r000 for the core
    "status": pl.String,  # member or removed
    "changed_in": pl.String,  # round in which status or label last changed
    "derivative": pl.Float64,
    "margin": pl.Float64,
    "score": pl.Float64,
    "reason": pl.String,
}
CHANGES: tables.Schema = {
    "sample_id": pl.String,
    "change": pl.String,
    "derivative": pl.Float64,
    "margin": pl.Float64,
    "score": pl.Float64,
    "suggested_label": pl.String,
    "reason": pl.String,
}
REVIEW: tables.Schema = tables.OpenSchema(
    sample_id=pl.String, decision=pl.String, label=pl.String, note=pl.String
)  # what rounds obey; who decided stands beside it (see `diva.store.decisions`)
SCORES: tables.Schema = {
    "sample_id": pl.String,
    "score": pl.Float64,
    "margin": pl.Float64,
    "flagged": pl.Boolean,
    "suggested_label": pl.String,
    "derivative": pl.Float64,
}
ROWS = ("sample_id", "label", "features", "row")  # what it takes to train on a sample
VALUES = ("derivative", "margin", "score", "suggested_label")


def read(round_: str | Path, only: Collection[str] | None = None) -> pl.DataFrame:
    """The curated set after a round of the work tree (``r007``), or at a path; `diva.versions` reads versions.

    Its columns are all of `SCHEMA`, or ``only`` some.
    """
    return tables.read(paths.curated(round_) if isinstance(round_, str) else round_, SCHEMA, only=only)


def write(path: Path, frame: pl.DataFrame) -> None:
    """Write a curated set."""
    tables.write(path, frame, SCHEMA)


def call(task: Task) -> pl.Expr:
    """``called cat``; ``dog is missing, cat is wrong``; or ``the others say 3.5``: what is said of a given label."""
    if task == "classification":
        return pl.format("called {}", "suggested_label")
    if task == "regression":
        return pl.format("the others say {}", "suggested_label")
    both = pl.struct("given_label", "suggested_label")
    return both.map_elements(lambda pair: entry_faults(*(text or "" for text in pair.values())), pl.String)


def start(core: pl.DataFrame, scores: pl.DataFrame, action: str, task: Task = "classification") -> pl.DataFrame:
    """The curated set r000.

    Args:
        core: index of the core's samples.
        scores: score, margin, flag, suggested label and derivative of each of them.
        action: what to do with flagged ones: ``weigh`` (keep and flag), ``drop``, ``relabel`` (to the suggestion).
        task: what labels are.

    Raises:
        ValueError: a sample of the core has no score, or the action is another.
    """
    if action not in CHANGE_OF:
        raise ValueError(f"action must be one of {', '.join(CHANGE_OF)}, got {action!r}.")
    _require(core["sample_id"], scores["sample_id"], "scores must cover every sample of the core")
    given = core.select("sample_id", given_label="label")
    changes = scores.join(given, on="sample_id", how="inner", maintain_order="left").with_columns(
        change=pl.when("flagged").then(pl.lit(CHANGE_OF[action])).otherwise(pl.lit("keep")),
        reason=pl.when("flagged").then(call(task)),
    )
    return apply("r000", entered(core, "core", "r000"), changes.select(list(CHANGES)), core, tables.empty(REVIEW))


def apply(
    round_: str,
    previous: pl.DataFrame,
    changes: pl.DataFrame,
    pool: pl.DataFrame,
    review: pl.DataFrame,
    only: Collection[str] | None = None,
) -> pl.DataFrame:
    """The curated set after a round.

    Args:
        round_: name of the round.
        previous: the set before it, or the columns of it that ``only`` needs.
        changes: what the round changes, a row each.
        pool: index that holds at least the samples it adds.
        review: decisions of people, at most one per sample; those on samples not in the set have no effect yet.
        only: columns of the set; others are not computed. None: those of ``previous``.

    Raises:
        ValueError: what does not fit the set: an unknown change or decision, an addition that is there already or not
            in the pool, another change of a sample that is no member, a relabel without a label or to one nobody has.
    """
    _require_known(changes, "change", get_args(Change))
    _require_known(review, "decision", get_args(Decision))
    if review["sample_id"].is_duplicated().any():
        raise ValueError("review must hold one decision per sample, got several for some.")
    relabels = review.filter(pl.col("decision") == "relabel")["label"]
    _require(relabels, relabels.filter(~_foreign(relabels, previous, pool)), "review must relabel to known classes")
    added = entered(_additions(previous, changes, pool), "pool", round_)
    state, only = pl.concat([previous, added.select(previous.columns)]), previous.columns if only is None else only
    members = state.filter(pl.col("status") == "member")["sample_id"]
    _require(changes.filter(pl.col("change") != "add")["sample_id"], members, "changes must be of members only")
    reviewed = review.select("sample_id", "decision", "note", reviewed_label="label")
    judged = _judged(round_)
    whole = with_columns_of(state, _by_sample(changes), reviewed)
    return ordered(whole.select(judged.get(name, pl.col(name)) for name in {*only, "batch", "row"})).select(only)


def with_columns_of(rows: pl.DataFrame, *others: pl.DataFrame) -> pl.DataFrame:
    """Rows, and what tables of one row a sample say of them; a join of the whole would copy all columns."""
    beside = rows.select("sample_id")
    for other in others:
        beside = beside.join(other, on="sample_id", how="left", maintain_order="left")
    return rows.hstack(beside.drop("sample_id"))


def without(rows: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Rows whose samples are none of others; a join would copy all columns twice."""
    return rows.filter(~pl.col("sample_id").is_in(others["sample_id"].implode()))


def _require_known(frame: pl.DataFrame, column: str, values: tuple[str, ...]) -> None:
    _require(frame[column], pl.Series(values), f"{column} must be one of {', '.join(values)}")
    relabels = frame.filter(pl.col(column) == "relabel")
    if relabels["suggested_label" if column == "change" else "label"].null_count():
        raise ValueError(f"{column} relabel must come with a label, got none for some.")


def _require(wanted: pl.Series, allowed: pl.Series, message: str) -> None:
    there = allowed.filter(allowed.is_in(wanted.implode(), nulls_equal=True))  # the wanted are few, the allowed many
    others = sorted(set(wanted) - set(there), key=str)
    if others:
        raise ValueError(f"{message}, got {len(others)} others (first: {others[0]}).")


def _additions(previous: pl.DataFrame, changes: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    """Rows of the pool's index that the round adds."""
    added = changes.filter(pl.col("change") == "add")["sample_id"]
    _require(added, pool["sample_id"], "changes must add samples of the pool")
    present = previous["sample_id"].is_in(added.implode()).sum()
    if present or added.is_duplicated().any():
        raise ValueError(f"changes must add each sample once, got {present} that are in the set already.")
    return pool.filter(pl.col("sample_id").is_in(added.implode()))


def entered(rows: pl.DataFrame, origin: str, round_: str) -> pl.DataFrame:
    """Rows of an index as members that nothing has been said about yet."""
    columns = {
        "given_label": pl.col("label"),
        "flagged": pl.lit(value=False),
        "origin": pl.lit(origin),
        "round": pl.lit(round_),
        "status": pl.lit("member"),
    }
    unknown = {name: pl.lit(None, dtype) for name, dtype in SCHEMA.items() if name not in (*rows.columns, *columns)}
    return tables.conform(rows.with_columns(**columns, **unknown).select(list(SCHEMA)), SCHEMA, "additions")


def possible(review: pl.DataFrame, previous: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    """The decisions that a round on this pool can obey: a label that only a later batch brings has to wait for it."""
    waits = (pl.col("decision") == "relabel") & _foreign(review["label"], previous, pool)
    return review.filter(~waits.fill_null(value=False))


def _foreign(labels: pl.Series, previous: pl.DataFrame, pool: pl.DataFrame) -> pl.Series:
    """Which labels neither a set nor a pool has: any of several; of numbers none."""
    given = pl.concat([previous["given_label"], pool["label"]]).unique().drop_nulls()
    labels_there = Vocabulary(manifest.task(), given)
    return pl.Series([text is not None and not labels_there.knows(text) for text in labels], dtype=pl.Boolean)


def reviewed(frame: pl.DataFrame, review: pl.DataFrame) -> pl.DataFrame:
    """``frame`` as people left it: without what they rejected, under the labels they gave or let stand."""
    if review.is_empty():
        return frame
    rest = without(frame, review.filter(pl.col("decision") == "reject"))
    accepted, named = review.filter(pl.col("decision") == "accept")["sample_id"], review.drop_nulls("label")
    given = "given_label" if "given_label" in frame.columns else "label"
    stands = pl.when(pl.col("sample_id").is_in(accepted.implode())).then(given).otherwise("label")
    label = pl.col("sample_id").replace_strict(named["sample_id"], named["label"], default=stands)
    return rest.with_columns(label=label)


def _by_sample(changes: pl.DataFrame) -> pl.DataFrame:
    """One row per sample: which changes it meets, the newest values, the reason of its gravest change."""
    kinds = get_args(Change)
    gravity = pl.col("change").replace_strict({name: rank for rank, name in enumerate(kinds)}, return_dtype=pl.Int8)
    met = {f"to_{name}": (pl.col("change") == name).any() for name in kinds}
    values = {f"new_{name}": pl.col(name).drop_nulls().first() for name in VALUES}
    numbers = [name for name in VALUES if CHANGES[name] == pl.Float64]
    return (
        changes.with_columns(pl.col(numbers).fill_nan(None), gravity=gravity)
        .sort("sample_id", "gravity", maintain_order=True)
        .group_by("sample_id", maintain_order=True)
        .agg(**met, **values, new_reason=pl.col("reason").first())
    )


def _judged(round_: str) -> dict[str, pl.Expr]:
    """Status, label, flag, reason and values after the round; people's decisions first, then the scores'."""
    decision, judged = pl.col("decision"), pl.col("decision").is_not_null()
    removes, relabels, flags = (pl.col(f"to_{name}").fill_null(value=False) for name in ("remove", "relabel", "flag"))
    status = (
        pl.when(decision.is_in(["accept", "relabel"]))
        .then(pl.lit("member"))
        .when((decision == "reject") | (removes & ~judged))
        .then(pl.lit("removed"))
        .otherwise("status")
    )
    label = (
        pl.when(decision == "accept")
        .then("given_label")
        .when(decision == "relabel")
        .then("reviewed_label")
        .when(relabels & ~removes & ~judged)
        .then("new_suggested_label")
        .otherwise("label")
    )
    flagged = (
        pl.when(judged | (relabels & ~removes))
        .then(pl.lit(value=False))
        .when(pl.col("status") == "removed")
        .then("flagged")
        .otherwise(removes | flags)
    )
    values = {name: pl.coalesce(f"new_{name}", name) for name in VALUES}
    changed = (status != pl.col("status")) | (label != pl.col("label"))
    changed_in = pl.when(changed).then(pl.lit(round_)).otherwise("changed_in")
    own = {"status": status, "label": label, "flagged": flagged, "changed_in": changed_in}
    columns = {**own, "reason": _reason(judged, flagged), **values}
    return {name: column.alias(name) for name, column in columns.items()}


def _reason(judged: pl.Expr, flagged: pl.Expr) -> pl.Expr:
    """People's, else this round's, else the earlier one; none where a flag was lifted."""
    note = pl.when(pl.col("note").is_not_null()).then(pl.format(" ({})", "note")).otherwise(pl.lit(""))
    lifted = (pl.col("status") == "member") & pl.col("flagged") & ~flagged
    return (
        pl.when(judged)
        .then(pl.format("review: {}", "decision") + note)
        .when(pl.col("new_reason").is_not_null())
        .then("new_reason")
        .when(lifted)
        .then(pl.lit(None, pl.String))
        .otherwise("reason")
    )


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order of their batches (core, b001, …), then of their file."""
    positions = {name: number(name) for name in frame["batch"].unique()}
    if not positions:
        return frame
    position = pl.col("batch").replace_strict(positions, return_dtype=pl.Int64)
    order = frame.select(pl.arg_sort_by(position, "row", maintain_order=True)).to_series()
    return frame if order.is_sorted() else frame[order]  # most are so already, and need no copy


def members(state: pl.DataFrame) -> pl.DataFrame:
    """Rows of a set that train: sample_id, label, features, row."""
    return state.filter(pl.col("status") == "member").select(ROWS)


def called_wrong() -> pl.Expr:
    """Whether a sample's label was called wrong, by scores or people: flagged, relabelled, removed for a label.

    What scores remove stays flagged; what people reject counts where another label was suggested.
    """
    removed = (pl.col("status") == "removed") & (pl.col("suggested_label") != pl.col("given_label"))
    return pl.col("flagged") | removed.fill_null(value=False) | (pl.col("label") != pl.col("given_label"))


def counts(state: pl.DataFrame) -> dict[str, int]:
    """Sizes that tell how a set stands."""
    member, pool = pl.col("status") == "member", pl.col("origin") == "pool"
    row = state.select(
        members=member.sum(),
        core=(member & ~pool).sum(),
        added=pool.sum(),
        removed=(~member).sum(),
        flagged=(member & pl.col("flagged")).sum(),
        relabelled=(member & (pl.col("label") != pl.col("given_label"))).sum(),
    )
    return {name: int(value) for name, value in row.row(0, named=True).items()}
