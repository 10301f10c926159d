"""Why a sample of the newest set, or of the pool beside it, is thought helpful or harmful: facts and tables of text."""

import polars as pl

from diva.curation import set_model, why
from diva.curation.set_model import SetModel
from diva.curation.why import Ranked, Reasons
from diva.report import aside
from diva.report.names import shown_name
from diva.store import curated, evaluation, index, ledger, paths, tables
from diva.text.words import Column, Row, Table, amount, number, percent
from diva.versions import reviews

Facts = list[tuple[str, str]]


def explained(name: str, top: int) -> tuple[Facts, list[Table]]:
    """Facts of a sample, and the members that it helps, harms and resembles.

    Args:
        name: an id, or a file name (`diva.versions.reviews.identified`).
        top: how many members each table names.

    Raises:
        ValueError: no set lies here yet, or the sample is neither in it nor in the pool, or has no label.
    """
    book = ledger.read()
    path = ledger.newest_stored(ledger.sets(book), paths.curated)
    if not path.is_file():
        raise ValueError(f"{path.as_posix()} must be there, which it is after a run: diva run, or dvc repro.")
    state, pool = curated.read(path), index.whole(ledger.newest_stored(ledger.pools(book), paths.pool))
    sample = _asked(reviews.identified([name])[0], state, pool)
    if sample["sample_id"][0] in set(reviews.forgotten(book)["sample_id"]):
        sample = sample.with_columns(stands=pl.format("taken down, by the next round; so far {}", "stands"))
    model = set_model.after(path.stem, state, index.labelled(pool))
    query = set_model.query(sample, model)
    reasons = why.explain(model.fitted, query, model.loss, model.problem.temperature, top=top)
    return _facts(sample, model, query, reasons), _tables(model, query, reasons)


def _asked(name: str, state: pl.DataFrame, pool: pl.DataFrame) -> pl.DataFrame:
    """The sample's row: sample_id, path, label, features, row, and how it stands."""
    shown = ("sample_id", "path", "label", "features", "row")
    removed = pl.format("removed in {}: {}", "changed_in", pl.col("reason").fill_null("by a person"))
    member = pl.format(
        "{} of {}", pl.when(pl.col("flagged")).then(pl.lit("flagged member")).otherwise(pl.lit("member")), "origin"
    )
    stands = pl.when(pl.col("status") == "member").then(member).otherwise(removed)
    samples = pl.concat(
        [
            state.select(*shown, stands=stands),
            _unadded(pool.join(state, on="sample_id", how="anti")).select(*shown, "stands"),
        ]
    ).filter(pl.col("sample_id") == name)
    if samples.is_empty():
        for refused in aside.read(ledger.read()).values():
            for row in refused.filter(sample_id=name).iter_rows(named=True):
                raise ValueError(f"{name} was set aside and is explained by this: {row['reason']}. {row['remedy']}")
        raise ValueError(
            f"sample must be of the core or the pool, by id or file name, got {name!r}; the report's gallery shows ids "
            "(a test set is not explained)."
        )
    if samples["label"].is_null().any():
        raise ValueError(f"sample must have a label to be explained, got {name}, which waits for its own.")
    return samples


def _unadded(frame: pl.DataFrame) -> pl.DataFrame:
    """Samples of the pool that were not added, with the reason where the last evaluation named it."""
    there = paths.evaluation("left").is_file()
    named = evaluation.read("left") if there else tables.empty(evaluation.REMAINING)
    joined = frame.join(named.select("sample_id", "reason"), on="sample_id", how="left", maintain_order="left")
    because = pl.when(pl.col("reason").is_null()).then(pl.lit("")).otherwise(pl.format(": {}", "reason"))
    return joined.with_columns(stands=pl.format("in the pool, not added{}", because))


def _facts(sample: pl.DataFrame, model: SetModel, query: why.Query, reasons: Reasons) -> Facts:
    classes, given = model.problem.classes, query.label
    effect = "harms the others" if reasons.derivative > 0 else "helps the others"
    trained = bool((model.members["sample_id"] == sample["sample_id"][0]).any())
    others = int(query.together.sum()) - trained
    suggested = classes[reasons.suggested]
    own = f"{classes[given]} {percent(float(reasons.without[given]), 1)} %"
    said = own if reasons.suggested == given else f"{suggested} {percent(float(reasons.without.max()), 1)} %, {own}"
    with_it = f"; trained with it {classes[given]} {percent(float(reasons.probabilities[given]), 1)} %"
    return [
        ("sample", sample["sample_id"][0]),
        ("file", sample["path"][0]),
        ("stands", sample["stands"][0]),
        ("label", classes[given]),
        ("the others say", said + with_it * trained),
        ("more of it", f"{effect} (derivative {number(reasons.derivative)})"),
        *([("left out with it", amount(others, "sample"))] if others else []),
    ]


def _tables(model: SetModel, query: why.Query, reasons: Reasons) -> list[Table]:
    other = model.problem.classes[reasons.contrast]
    share, cosine = "change of its loss", "cosine"
    return [
        _table("It harms most", reasons.harmed, model.members, share),
        _table("It helps most", reasons.helped, model.members, share),
        _table(f"Nearest of its own label, {model.problem.classes[query.label]}", reasons.same, model.members, cosine),
        _table(f"Nearest of {other}", reasons.other, model.members, cosine),
    ]


def _table(title: str, ranked: Ranked, members: pl.DataFrame, measure: str) -> Table:
    """Members, the foremost first, with what they are ranked by."""
    named = members[ranked.rows.tolist()].select("label", shown_name())
    body = [
        Row((label, name, number(value)))
        for (label, name), value in zip(named.iter_rows(), ranked.values.tolist(), strict=True)
    ]
    notes = () if body else ("none",)
    return Table(
        title, (Column("label", number=False), Column("sample", number=False), Column(measure)), tuple(body), notes
    )
