"""What the page shows, and the page: tables of text, charts in percent, thumbnails; the template only lays them out.

Equal data give an equal page, to the byte: no time, no machine, no random order.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jinja2
import polars as pl

from diva import summary
from diva.report import charts
from diva.report.thumbnails import thumbnail
from diva.store import ledger, manifest
from diva.summary import Run
from diva.texts import Row, Table, count, number, percent

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Data:
    """What the report is made from.

    Attributes:
        run: metrics, summary of the release, attributes of the features.
        fit: data/fit/fit.json.
        book: the ledger.
        state: the newest curated set.
        train: the release.
        scores: of the core, by the method that calls labels wrong: score, flagged.
        weights: of the newest set: weight, flagged.
        truth: planted truth of all batches; empty where none is known.
        quarantine: rows set aside, by stage and batch.
    """

    run: Run
    fit: Mapping[str, Any]
    book: ledger.Ledger
    state: pl.DataFrame
    train: pl.DataFrame
    scores: pl.DataFrame
    weights: pl.DataFrame
    truth: pl.DataFrame
    quarantine: Mapping[tuple[str, str], pl.DataFrame]


class Call(NamedTuple):
    """A label called wrong.

    Attributes:
        given: label.
        suggested: label.
        score: as text.
        outcome: what became of the sample.
        truth: what the planted truth says of the call; empty where it is unknown.
        right: whether the planted truth agrees; None where it is unknown.
        path: of the image.
        image: data URI; None for a placeholder.
    """

    given: str
    suggested: str
    score: str
    outcome: str
    truth: str
    right: bool | None
    path: str
    image: str | None


class Line(NamedTuple):
    """A row of a table, its error on the axis, its size in percent of the largest."""

    row: Row
    span: charts.Span
    size: float


class Errors(NamedTuple):
    """A table whose rows lie on a common axis of errors."""

    table: Table
    axis: charts.Axis
    lines: tuple[Line, ...]


class Aside(NamedTuple):
    """A kind of sample set aside, with the remedy of the first one."""

    batch: str
    stage: str
    kind: str
    samples: int
    example: str
    remedy: str


class Group(NamedTuple):
    """Facts under a heading."""

    title: str
    facts: Facts


def render(data: Data, calls: int, side: int) -> str:
    """The page, with the ``calls`` strongest calls as thumbnails of at most ``side`` pixels."""
    shown = strongest(data.state, data.truth, calls)
    total = int(data.state.select(called().sum()).item())
    return _template().render(
        summary=summary.summarise(data.run),
        headline=headline(data.run),
        called_wrong=summary.called_wrong(data.run),
        sets=sets(data.run),
        rounds=rounds(data.run),
        calls=[call(row, side) for row in shown.iter_rows(named=True)],
        called=total,
        scores=charts.histogram(data.scores["score"].to_numpy(), data.scores["flagged"].to_numpy()),
        weights=charts.histogram(data.weights["weight"].to_numpy(), data.weights["flagged"].to_numpy()),
        zero_weights=int((data.weights["weight"] == 0).sum()),
        balance=class_balance(data.state, data.train),
        quarantine=set_aside(data.quarantine),
        provenance=provenance(data),
        side=side,
        count=count,
    )


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("diva.report", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2")


def headline(run: Run) -> tuple[tuple[str, str, str], ...]:
    """The few figures that matter: name, figure, what stands beneath it."""
    found, planted = run.evaluate["sets"], run.evaluate["planted"]
    used, core = found[run.used], found["core"]
    known = planted.get("known")
    return (
        ("error of the release", f"{percent(used['error'])} %", _between(used["low"], used["high"])),
        ("error of the core", f"{percent(core['error'])} %", _between(core["low"], core["high"])),
        (
            "difference",
            percent(used["difference"], 2, signed=True),
            _between(used["difference_low"], used["difference_high"], signed=True),
        ),
        ("added", count(run.release["added"]), f"to a core of {count(run.release['core'])}"),
        (
            "called wrong",
            count(planted["flagged"] if known else run.release["flagged"]),
            f"with {count(planted['hit'])} of {count(planted['wrong'])} planted" if known else "flagged",
        ),
    )


def _between(low: float, high: float, signed: bool = False) -> str:
    return f"{percent(low, 1, signed)} to {percent(high, 1, signed)}"


def sets(run: Run) -> Errors:
    """Training sets on one axis of errors."""
    found = run.evaluate["sets"]
    return errors(summary.sets(run), [found[name] for name in summary.order(run)])


def rounds(run: Run) -> Errors:
    """Rounds on one axis of errors."""
    return errors(summary.rounds(run), run.evaluate["rounds"])


def errors(table: Table, figures: Sequence[Mapping[str, Any]]) -> Errors:
    """Rows of a table, each with its figures: error, low, high, size."""
    scale = charts.axis([row[end] for row in figures for end in ("low", "high")])
    largest = max(1, *(row["size"] for row in figures))
    rows = (
        Line(row, charts.span(scale, told), round(100 * told["size"] / largest, 1))
        for row, told in zip(table.rows, figures, strict=True)
    )
    return Errors(table, scale, tuple(rows))


def called() -> pl.Expr:
    """Whether a sample's label was called wrong: flagged, relabelled, or removed for another label."""
    removed = (pl.col("status") == "removed") & (pl.col("suggested_label") != pl.col("given_label"))
    return pl.col("flagged") | removed.fill_null(value=False) | (pl.col("label") != pl.col("given_label"))


def strongest(state: pl.DataFrame, truth: pl.DataFrame, most: int) -> pl.DataFrame:
    """The labels called wrong of the highest scores, with their true label where it is known."""
    ranked = state.filter(called()).sort(["score", "sample_id"], descending=[True, False], nulls_last=True)
    known = truth.unique("sample_id", keep="first", maintain_order=True)
    return ranked.head(most).join(known, on="sample_id", how="left", maintain_order="left")


def call(row: Mapping[str, Any], side: int) -> Call:
    """One label called wrong, ready to be shown."""
    true = row["true_label"]
    kept = "kept, flagged" if row["flagged"] else f"relabelled {row['label']}"
    outcome = "removed" if row["status"] == "removed" else kept
    right = None if true is None else true != row["given_label"]
    said = {None: "", True: f"planted, truly {true}", False: f"false alarm, truly {true}"}[right]
    suggested = row["suggested_label"] or "?"
    image = thumbnail(row["path"], side)
    return Call(row["given_label"], suggested, number(row["score"]), outcome, said, right, row["path"], image)


def class_balance(state: pl.DataFrame, train: pl.DataFrame) -> tuple[charts.Share, ...]:
    """Samples per class: the core as given, and the release."""
    core = state.filter(pl.col("origin") == "core")
    before = dict(core.group_by("given_label").len().iter_rows())
    return charts.balance(before, dict(train.group_by("label").len().iter_rows()))


def set_aside(quarantine: Mapping[tuple[str, str], pl.DataFrame]) -> tuple[Aside, ...]:
    """Kinds of samples set aside, in the order of stages and batches."""
    found = []
    for (stage, batch), refused in quarantine.items():
        for kind, amount in manifest.kinds(refused).items():
            first = refused.filter(pl.col("reason").str.split(":").list.first() == kind).row(0, named=True)
            found.append(Aside(batch, stage, kind, amount, first["path"], first["remedy"]))
    return tuple(found)


def provenance(data: Data) -> tuple[Group, ...]:
    """Where everything comes from, and every setting that shaped it."""
    network = data.run.network
    features = [("backbone", summary.backbone(network))]
    features += [
        (name.replace("_", " "), str(network[name])) for name in network if name != "backbone" and network[name] != ""
    ]
    fit = [("ridge λ", number(data.fit["ridge"])), ("temperature T*", number(data.fit["temperature"]))]
    fit += [("leave-one-out error of the core, %", percent(data.fit["loo_error"]))]
    fit += [(name, str(data.fit[name])) for name in ("normalize", "dtype", "excluded") if name in data.fit]
    batches = [(name, _batch(data.book.batches[name])) for name in ledger.order(data.book)]
    groups = [Group("Features", tuple(features)), Group("Fit", tuple(fit)), Group("Batches", tuple(batches))]
    return (*groups, *_settings(data.book))


def _batch(batch: ledger.Batch) -> str:
    options = ", ".join(f"{name} {value}" for name, value in batch.options.items())
    return " · ".join(part for part in (batch.source, options, batch.checksum) if part not in ("", "none")) or "none"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _settings(book: ledger.Ledger) -> tuple[Group, ...]:
    """Settings of the rounds; rounds of equal settings share a group."""
    groups: dict[Facts, list[str]] = {}
    for name in ledger.chain(book.rounds, "rounds"):
        settings = book.rounds[name].settings
        facts = tuple(
            (f"{stage}.{key}", _plain(value)) for stage, keys in settings.items() for key, value in keys.items()
        )
        groups.setdefault(facts, []).append(name)
    return tuple(Group(f"Settings of {', '.join(names)}", facts) for facts, names in groups.items())
