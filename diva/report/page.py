"""The page: one file that carries all it shows. Equal data give an equal page, to the byte: no time, no machine.

What stands in it as HTML is put there by the template, escaped; all else (samples, charts, thumbnails) lies in it as
base64, which its script unpacks and only ever shows as text.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from markupsafe import Markup

from diva.curation import embedding
from diva.curation.neighbours import feature_rows
from diva.curation.shares import Numbers
from diva.report import (
    aside,
    assets,
    by_class,
    changes,
    charts,
    claims,
    evidence,
    gallery,
    links,
    reviewed,
    slice_tables,
    summary,
    test_set,
    thumbnails,
)
from diva.report.charts import Chart
from diva.report.data import ReportData, samples, shown
from diva.report.run_metrics import RunMetrics
from diva.store import evaluation, ledger, manifest
from diva.store.curated import called_wrong
from diva.text.words import count, number, percent
from diva.versions import takedowns

Facts = tuple[tuple[str, str], ...]
OVERHEAD = 200_000  # bytes of the page besides samples, library and thumbnails


class PageLimits(NamedTuple):
    """How much the page shows.

    Attributes:
        calls: labels called wrong that come with evidence, the strongest first.
        thumbnail: pixels of their longer side.
        rows: samples it lists.
        megabytes: it weighs at most; thumbnails fill what is left.
    """

    calls: int
    thumbnail: int
    rows: int
    megabytes: float


class FactGroup(NamedTuple):
    """Facts under a heading."""

    title: str
    facts: Facts


def render(data: ReportData, limits: PageLimits) -> str:
    """The page."""
    every = samples(data)
    listed = shown(every, limits.rows)
    tested = data.doubted.head(limits.calls)
    frame = pl.concat([listed, tested])
    nearest = neighbours(data, frame, limits.calls)
    library, order = assets.library(), gallery.first(frame, nearest, limits.calls)
    by = placing(data)
    points = by.points(feature_rows(frame))
    drawn = [*figures(data, every), *filter(None, [density(frame, points)])]
    packed, images = embedded(
        data, frame, nearest, order, limits, {chart.name: chart.figure for chart in drawn}, len(library), points
    )
    script, called = assets.script(), int(every["called"].sum())
    return assets.template().render(
        policy=assets.policy(script, assets.plotly()),
        script=Markup(script),  # noqa: S704  # ours
        style=Markup(assets.read("page.css")),  # noqa: S704  # ours
        library=library,
        packed=packed,
        images=gallery.lines(images),
        charts={chart.name: chart for chart in drawn},
        headline=headline(data.run, called),
        aside=aside.kinds(data.quarantine),
        copies=aside.copies(data.quarantine, frame),
        test_faults=test_set.faults(data.run, data.quarantine),
        amounts={
            "called": count(called), "samples": count(len(every)), "shown": count(len(listed)),
            "thumbnails": count(len(images)), "megabytes": number(limits.megabytes), "evidence": count(len(nearest)),
            "map": by.about, "tested": count(len(tested)),
        },
        cut=len(listed) < len(every),
        **of_project(data),
        **of_run(data.run),
    )  # fmt: skip


def of_project(data: ReportData) -> dict[str, Any]:
    """What the page says of the ledger, of decisions of people, and of what changed."""
    return {
        "project": project(data.book),
        "takedowns": takedowns.digest(data.taken_down["sample_id"]),
        "changes": changes.compare(data.before, data.state, _previous(data.book)),
        "reviewed": reviewed.summarise(data.review, data.unreviewed, data.run.history),
        "review": ledger.newest_review(data.book),
        "provenance": provenance(data),
    }


def of_run(run: RunMetrics) -> dict[str, Any]:
    """What the page says of the figures of a run, as does the summary."""
    return {
        "summary": summary.summarise(run),
        "sentences": summary.sentences(run),
        "called_wrong": summary.called_wrong(run),
        "sets": summary.sets(run),
        "panel": summary.panel(run),
        "recipe": claims.recipe(run),
        "rounds": summary.rounds(run),
        **{name: draw(run.tables[name]) for name, draw in summary.BAD.items()},
        "slice_filters": slice_tables.filters(run.tables["slices"]),
        "columns": slice_tables.by_column(run.tables["slices"]),
        "audited": test_set.audited(run.tables["audit"]),
        "test_labels": test_set.doubts(run.evaluate),
    }


def neighbours(data: ReportData, frame: pl.DataFrame, calls: int) -> dict[str, evidence.Evidence]:
    """Evidence for the strongest calls, from core images that nobody doubts."""
    columns = ["sample_id", "features", "row", "given_label", "suggested_label"]
    doubted = (pl.col("status") == "left") & (pl.col("suggested_label") != pl.col("given_label"))
    tested = pl.col("status") == "test"
    strongest = [row for which in (pl.col("called"), doubted, tested) for row in gallery.ranked(frame, which, calls)]
    asked = frame[strongest].select(columns)
    reviewed = pl.col("reason").str.starts_with("review:").fill_null(value=False)
    undoubted = (pl.col("status") == "member") & (~called_wrong() | reviewed)
    trusted = core(data).filter(undoubted).select("sample_id", "features", "row", "label")
    return evidence.nearest_images(asked, trusted)


def core(data: ReportData) -> pl.DataFrame:
    """Samples of the core that may be shown."""
    rows = data.state.filter(pl.col("origin") == "core")
    return rows.join(data.taken_down, on="sample_id", how="anti", maintain_order="left")


def placing(data: ReportData) -> embedding.Axes | embedding.Landmarks:
    """What says where samples lie: UMAP of the core where the stage ``embed`` made that, else its principal axes."""
    rows = core(data)
    if data.places is not None:
        rows = rows.join(data.places, on="sample_id", how="inner", maintain_order="left")
    if data.places is None or rows.is_empty():
        return embedding.axes(feature_rows(rows))
    return embedding.landmarks(feature_rows(rows), rows.select("x", "y").cast(pl.Float64).to_numpy())


def figures(data: ReportData, every: pl.DataFrame) -> list[Chart]:
    """All charts that these data allow."""
    method, scores = next(iter(data.scores.items()))
    flags = every.select("sample_id", flagged="called")
    weights = data.weights.join(flags, on="sample_id", how="left", maintain_order="left")
    core = data.state.filter(pl.col("origin") == "core")
    before = dict(manifest.in_classes(core, "given_label").group_by("given_label").len().iter_rows())
    reasons = {reason: {"left": n} for reason, n in data.remaining.group_by("reason").len().sort("reason").iter_rows()}
    kinds = aside.counts(aside.kinds(data.quarantine))
    drawn = [
        charts.panel(data.run),
        charts.sets(data.run),
        charts.extension(data.run),
        charts.scores(scores, method),
        charts.weights(weights.with_columns(pl.col("flagged").fill_null(value=False))),
        slice_tables.confusion(data.run.tables["pairs"]),
        by_class.balance(before, dict(manifest.in_classes(data.train).group_by("label").len().iter_rows()))
        if before
        else None,
        by_class.errors(data.classes, data.run.used),
        charts.steps(data.steps, data.taken),
        charts.stacks("left", "Left in the pool", "Why samples were left, under the newest set.", reasons)
        if reasons
        else None,
        charts.stacks("aside", "Set aside", "What could not be used, by kind and batch.", kinds) if kinds else None,
    ]
    return [chart for chart in drawn if chart is not None]


def density(frame: pl.DataFrame, points: Numbers) -> Chart | None:
    """Of the samples that the page lists, where the core lies and where what was added to it."""
    core, added = frame["origin"] == "core", (frame["origin"] == "pool") & (frame["status"] != "left")
    return charts.density(points, {"core": core.to_numpy(), "added": added.to_numpy()})


def embedded(
    data: ReportData, frame: pl.DataFrame, nearest: Mapping[str, evidence.Evidence], order: list[int],
    limits: PageLimits, drawn: Mapping[str, charts.Figure], library: int, points: Numbers,
) -> tuple[str, dict[int, bytes]]:  # fmt: skip
    """Samples and charts as the script unpacks them, and the thumbnails for which there is room then."""
    unlinked = [False] * len(frame)
    content = gallery.content(frame, nearest, data.scores, data.review, unlinked, data.columns, points)
    content |= {"charts": dict(drawn)}
    room = int(limits.megabytes * 1e6) - OVERHEAD - library - len(gallery.packed(content))
    images = thumbnails.pack(frame, order, limits.thumbnail, room)
    paths = frame["path"].to_list()
    checked = links.folders_of(paths[row] for row in images)
    linked = links.within(paths, (*links.roots(data.book), *checked))
    content |= {"linked": [int(link and Path(path).is_file()) for link, path in zip(linked, paths, strict=True)]}
    if "sounds" in content:  # those alone that the page may load
        sounds = content["sounds"]
        playable = links.within((path or "" for path in sounds), (*links.roots(data.book), *checked))
        content["sounds"] = [path if may else None for path, may in zip(sounds, playable, strict=True)]
    return gallery.packed(content), images


def project(book: ledger.Ledger) -> str:
    """What tells this project from others, so that a browser keeps their reviews apart: a hash of its core."""
    core = book.batches["core"]
    return hashlib.sha256(f"{core.source}\n{core.checksum}\n{json.dumps(core.options)}".encode()).hexdigest()[:16]


def _previous(book: ledger.Ledger) -> str:
    return book.rounds[book.latest].previous if book.latest in book.rounds else ""


def headline(run: RunMetrics, called: int) -> tuple[tuple[str, str, str], ...]:
    """The few figures that matter: name, figure, what stands beneath it; ``called`` labels are or were called wrong."""
    planted, used, core = run.evaluate["planted"], claims.mean(run, run.used), claims.mean(run, "core")
    has_truth = planted.get("known")
    gone = called - run.release["flagged"]
    hopeless, waiting = (run.remaining.get(why, 0) for why in (evaluation.HOPELESS, evaluation.WAITING))
    return (
        ("error of the release", f"{percent(used['error'])} %", _between(used["low"], used["high"])),
        ("error of the core", f"{percent(core['error'])} %", _between(core["low"], core["high"])),
        (
            "difference",
            percent(used["difference"], 2, signed=True),
            _between(used["difference_low"], used["difference_high"], signed=True),
        ),
        (
            "added",
            count(run.release["added"]),
            f"to a core of {count(run.release['core'])}" + f"; {count(waiting)} candidates wait" * bool(waiting),
        ),
        (
            "called wrong",
            count(run.release["flagged"]),
            f"and {count(gone)} removed or relabelled, " * (gone > 0)
            + (f"with {count(planted['hit'])} of {count(planted['wrong'])}" if has_truth else "of core and added")
            + " planted" * bool(has_truth)
            + f", and {count(hopeless)} left in the pool" * bool(hopeless),
        ),
    )


def _between(low: float, high: float, signed: bool = False) -> str:
    return f"{percent(low, 1, signed)} to {percent(high, 1, signed)}"


def provenance(data: ReportData) -> tuple[FactGroup, ...]:
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
    named = {"Features": features, "Fit": fit, "Batches": batches}
    return (*(FactGroup(title, tuple(facts)) for title, facts in named.items()), *_settings(data.book))


def _batch(batch: ledger.Batch) -> str:
    parts = []
    for entry in batch.deliveries:
        options = ", ".join(f"{name} {value}" for name, value in entry.options.items())
        parts += [part for part in (entry.source, options, entry.checksum) if part not in ("", "none")]
    return " · ".join(parts) or "none"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _settings(book: ledger.Ledger) -> tuple[FactGroup, ...]:
    """Settings of the rounds; rounds of equal settings share a group."""
    groups: dict[Facts, list[str]] = {}
    for name in ledger.chain(book.rounds, "rounds"):
        settings = book.rounds[name].settings
        facts = tuple(
            (f"{stage}.{key}", _plain(value)) for stage, keys in settings.items() for key, value in keys.items()
        )
        groups.setdefault(facts, []).append(name)
    return tuple(FactGroup(f"Settings of {', '.join(names)}", facts) for facts, names in groups.items())
