"""Stage ``report``: one page that shows what the run did, and the tables that DVC plots."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from diva.report import charts, page, reviewed, summary
from diva.report.data import ReportData
from diva.store import atomic, curated, evaluation, ledger, manifest, paths, release, tables
from diva.versions import reviews
from stages.command import run
from stages.params import section
from stages.params.curate import Curate
from stages.params.report import Report
from stages.params.score import Score

logger = logging.getLogger(__name__)
QUARANTINES = ("download", "extract", "pool", "fit")


def main() -> None:
    """data/report/index.html and data/metrics/plots."""
    settings = section.read("report", Report)
    data = read()
    atomic.write_text(paths.REPORT, page.render(data, page.PageLimits(**settings.model_dump())))
    for name, frame in plots(data).items():
        atomic.write_text(paths.PLOTS / f"{name}.csv", frame.write_csv())
    logger.info("%s: %.1f MB", paths.REPORT, paths.REPORT.stat().st_size / 1e6)


def read() -> ReportData:
    """All that the page shows."""
    book, method = ledger.read(), section.read("curate", Curate).score
    others = [name for name in section.read("score", Score).methods if name != method]
    review = reviews.read(book)
    judging = ledger.sets(book) if len(review) else [book.latest]
    return ReportData(
        run=summary.read(),
        fit=summary.read_json(paths.FIT),
        book=book,
        state=curated.read(book.latest),
        before=curated.read(book.rounds[book.latest].previous) if book.latest in book.rounds else None,
        train=tables.read(paths.TRAIN, release.TRAIN),
        scores={name: tables.read(paths.scores(name), curated.SCORES) for name in (method, *others)},
        weights=tables.read(paths.WEIGHTS, release.WEIGHTS),
        truth=pl.concat([tables.read(paths.truth(name), manifest.TRUTH) for name in ledger.truths(book)]),
        quarantine=quarantines(book),
        classes=evaluation.read("classes"),
        steps=evaluation.read("steps"),
        taken=len(summary.read_json(paths.WEIGHTS_HISTORY)["steps"]),
        remaining=evaluation.read("left"),
        review=review,
        unreviewed=reviewed.said([curated.read(name) for name in judging]),
    )


def quarantines(book: ledger.Ledger) -> dict[tuple[str, str], pl.DataFrame]:
    """What stages set aside, of every batch of the ledger."""
    places = [(stage, batch) for stage in QUARANTINES for batch in ledger.order(book)]
    files: dict[tuple[str, str], Path] = {place: paths.quarantine(*place) for place in places}
    return {place: tables.read(path, manifest.QUARANTINE) for place, path in files.items() if path.is_file()}


def plots(data: ReportData) -> dict[str, pl.DataFrame]:
    """Tables for ``dvc plots``: scores, weights, training sets, rounds, classes, their balance, steps of Reweight."""
    errors = ("error", "low", "high")
    found, rounds = data.run.evaluate["sets"], data.run.evaluate["rounds"]
    sets = [{"set": name, **{key: found[name][key] for key in (*errors, "size")}} for name in summary.order(data.run)]
    flags = data.state.select("sample_id", "flagged")
    weights = data.weights.join(flags, on="sample_id", how="left", maintain_order="left")
    return {
        "scores": histogram(next(iter(data.scores.values())), "score"),
        "weights": histogram(weights.with_columns(pl.col("flagged").fill_null(value=False)), "weight"),
        "sets": pl.DataFrame(sets),
        "rounds": pl.DataFrame(
            [{key: entry.get(key) for key in ("round", "size", *errors)} | uniform(entry) for entry in rounds],
            schema_overrides={"uniform": pl.Float64},
        ),
        "classes": data.classes.select(harmless("label"), "samples", "core", release=data.run.used),
        "balance": balance(data).select(harmless("label"), "core", "release"),
        "steps": data.steps,
    }


def uniform(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """The error of a uniform choice as large as a round's set; both start at the core."""
    return {"uniform": entry["error"] if entry["round"] == ledger.ORIGIN["rounds"] else entry.get("uniform")}


def balance(data: ReportData) -> pl.DataFrame:
    """Samples of each class, by name: of the core as given, and of the release."""
    core = data.state.filter(pl.col("origin") == "core").select(label="given_label")
    counts = [
        frame.group_by("label").agg(pl.len().alias(name)) for name, frame in (("core", core), ("release", data.train))
    ]
    return counts[0].join(counts[1], on="label", how="full", coalesce=True).fill_null(0).sort("label")


def harmless(column: str) -> pl.Expr:
    """Text that DVC can write into a script of its page as it is."""
    return pl.col(column).str.replace_all("<", "‹", literal=True)


def histogram(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """How many samples, flagged or not, have values around each bin's centre."""
    found = charts.histogram(frame[column].to_numpy(), frame["flagged"].to_numpy())
    low, width, every, flagged = (np.array(found[name]) for name in ("low", "width", "all", "marked"))
    return pl.DataFrame({column: (low + width / 2).round(6), "unflagged": every - flagged, "flagged": flagged})


if __name__ == "__main__":
    run(main)
