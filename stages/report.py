"""Stage ``report``: one page that shows what the run did, and the tables that DVC plots."""

import logging

import polars as pl

from diva.curation import embedding
from diva.report import aside, page, plots, reviewed, run_metrics
from diva.report.data import ReportData, captions, of_test
from diva.store import atomic, curated, evaluation, index, ledger, manifest, paths, release, tables
from diva.versions import reviews
from stages.command import run
from stages.params import section
from stages.params.curate import Curate
from stages.params.embed import Embed
from stages.params.report import Report
from stages.params.score import Score

logger = logging.getLogger(__name__)


def main() -> None:
    """data/report/index.html, and data/metrics/plots, which DVC draws and lists."""
    settings = section.read("report", Report)
    data = read()
    atomic.write_text(paths.REPORT, page.render(data, page.PageLimits(**settings.model_dump())))
    for name, frame in plots.tables(data).items():
        atomic.write_text(paths.PLOTS / f"{name}.csv", frame.write_csv())
    tables.write_json(paths.FIGURES, plots.figures(data.run))
    logger.info("%s: %.1f MB", paths.REPORT, paths.REPORT.stat().st_size / 1e6)


def read() -> ReportData:
    """All that the page shows."""
    book, method = ledger.read(), section.read("curate", Curate).score
    others = [name for name in section.read("score", Score).methods if name != method]
    review = reviews.read(book)
    judging = ledger.sets(book) if len(review) else [book.latest]
    train = tables.read(paths.TRAIN, release.TRAIN, further=True)
    places = [tables.read(paths.scores(name), embedding.PLACES) for name in section.read("embed", Embed).by]
    return ReportData(
        run=run_metrics.read(),
        fit=tables.read_json(paths.FIT),
        book=book,
        state=curated.read(book.latest),
        before=curated.read(book.rounds[book.latest].previous) if book.latest in book.rounds else None,
        train=train.select(list(release.TRAIN)),
        scores={name: tables.read(paths.scores(name), curated.SCORES) for name in (method, *others)},
        weights=tables.read(paths.WEIGHTS, release.WEIGHTS),
        truth=pl.concat([tables.read(paths.truth(name), manifest.TRUTH) for name in ledger.truths(book)]),
        quarantine=aside.read(book),
        classes=evaluation.read("classes"),
        steps=evaluation.read("steps"),
        taken=len(tables.read_json(paths.WEIGHTS_HISTORY)["steps"]),
        remaining=evaluation.read("left"),
        columns=evaluation.stored("columns"),
        review=review,
        unreviewed=reviewed.said([curated.read(name) for name in judging]),
        captions=captions(train, release.read_removed(paths.REMOVED, further=True)),
        doubted=of_test(evaluation.stored("audit"), index.read_batch("test")),
        places=places[0] if places else None,
    )


if __name__ == "__main__":
    run(main)
