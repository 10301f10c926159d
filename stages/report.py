"""Stage ``report``: one page that shows what the run did, and the tables that DVC plots."""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from diva import summary
from diva.report import page
from diva.store import atomic, curated, ledger, manifest, paths, release, tables
from stages.command import run
from stages.params import section
from stages.params.curate import Curate
from stages.params.report import Report

logger = logging.getLogger(__name__)
QUARANTINES = ("download", "extract", "pool", "fit")


def main() -> None:
    """data/report/index.html and data/metrics/plots."""
    settings, score = section.read("report", Report), section.read("curate", Curate).score
    data = read(score)
    atomic.write_text(paths.REPORT, page.render(data, settings.calls, settings.thumbnail))
    for name, frame in plots(data).items():
        atomic.write_text(paths.PLOTS / f"{name}.csv", frame.write_csv())
    logger.info("%s: %.1f MB", paths.REPORT, paths.REPORT.stat().st_size / 1e6)


def read(score: str) -> page.Data:
    """All that the page shows."""
    book = ledger.read()
    state = curated.read(book.latest)
    flags = state.select("sample_id", "flagged")
    weights = tables.read(paths.WEIGHTS, release.WEIGHTS).join(flags, on="sample_id", how="left", maintain_order="left")
    return page.Data(
        run=summary.read(),
        fit=summary.read_json(paths.FIT),
        book=book,
        state=state,
        train=tables.read(paths.TRAIN, release.TRAIN),
        scores=tables.read(paths.scores(score), curated.SCORES),
        weights=weights.with_columns(pl.col("flagged").fill_null(value=False)),
        truth=pl.concat([tables.read(paths.truth(name), manifest.TRUTH) for name in ledger.truths(book)]),
        quarantine=quarantines(book),
    )


def quarantines(book: ledger.Ledger) -> dict[tuple[str, str], pl.DataFrame]:
    """What stages set aside, of every batch of the ledger."""
    places = [(stage, batch) for stage in QUARANTINES for batch in ledger.order(book)]
    files: dict[tuple[str, str], Path] = {place: paths.quarantine(*place) for place in places}
    return {place: tables.read(path, manifest.QUARANTINE) for place, path in files.items() if path.is_file()}


def plots(data: page.Data) -> dict[str, pl.DataFrame]:
    """Tables for ``dvc plots``: scores, weights, training sets, rounds."""
    errors = ("error", "low", "high")
    found, rounds = data.run.evaluate["sets"], data.run.evaluate["rounds"]
    sets = [{"set": name, **{key: found[name][key] for key in (*errors, "size")}} for name in summary.order(data.run)]
    return {
        "scores": histogram(data.scores, "score"),
        "weights": histogram(data.weights, "weight"),
        "sets": pl.DataFrame(sets),
        "rounds": pl.DataFrame([{key: entry[key] for key in ("round", "size", *errors)} for entry in rounds]),
    }


def histogram(frame: pl.DataFrame, column: str, bins: int = 40) -> pl.DataFrame:
    """How many samples, flagged or not, have values around each of ``bins`` centres."""
    edges = np.histogram_bin_edges(frame[column].to_numpy(), bins)
    counts = {
        name: np.histogram(frame.filter(flag)[column].to_numpy(), edges)[0]
        for name, flag in (("unflagged", ~pl.col("flagged")), ("flagged", pl.col("flagged")))
    }
    return pl.DataFrame({column: ((edges[:-1] + edges[1:]) / 2).round(6), **counts})


if __name__ == "__main__":
    run(main)
