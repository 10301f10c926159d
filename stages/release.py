"""Stage ``release``: the newest curated set at a constant path, ready to train on."""

import logging
from pathlib import Path

import polars as pl

from diva.store import columns, curated, index, ledger, manifest, paths, release, tables
from stages.command import run
from stages.params import section
from stages.params.release import ReleaseSettings

logger = logging.getLogger(__name__)


def main() -> None:
    """Training set, removed samples and summary."""
    settings, book = section.read("release", ReleaseSettings), ledger.read()
    newest = book.latest
    weights = tables.read(paths.WEIGHTS, release.WEIGHTS)
    path = paths.pool(ledger.newest_pool(book))
    state = released(book, path, weights)
    sources = [index.described(source) for source in (paths.CORE, path)]
    judged = tables.read_json(paths.metrics("reweight"))
    verdict, chosen = release.verdict(settings.weights, judged.get("held_out")), judged.get("set")
    train, removed = release.frames(state, weights, verdict.weighted, settings.flagged, index.group_names(*sources))
    for path, frame, schema in ((paths.TRAIN, train, release.TRAIN), (paths.REMOVED, removed, release.REMOVED)):
        tables.write(path, release.with_targets(columns.described(frame, *sources)), schema)
    if manifest.task() == "multilabel":
        tables.write(paths.ENTRIES, release.entries(state), release.ENTRIES)
    described = release.summary(newest, state, train, verdict, settings.weights, settings.flagged, chosen)
    tables.write_json(paths.SUMMARY, described)
    counts = curated.counts(state)
    metrics = {
        "samples": len(train),
        **{name: count for name, count in counts.items() if name != "members"},
        "weighted": verdict.weighted,
        "why": verdict.reason,
        "flagged_out": settings.flagged == "out",
        **({"set": chosen["name"]} if chosen else {}),
    }
    tables.write_json(paths.metrics("release"), metrics)
    about = "weights kept" if verdict.weighted else "no weights"
    gone = len(removed) - counts["removed"]
    message = "%s: %d samples, %d removed, %d called wrong and left out; %s: %s"
    if chosen:
        logger.info("%s: %s", chosen["name"], chosen["reason"])
    logger.info(message, newest, len(train), counts["removed"], gone, about, verdict.reason)


def released(book: ledger.Ledger, path: Path, weights: pl.DataFrame) -> pl.DataFrame:
    """The newest set and what is weighed beside it, of the pool's index at ``path``; with what is released of them."""
    state = curated.read(book.latest, release.COLUMNS)
    others = release.has_others(weights, state)
    pool = index.read(path, only=release.COLUMNS) if others else tables.empty(index.SCHEMA)
    return release.complete(state, weights, pool, release.obeyed(book), release.read_calls())


if __name__ == "__main__":
    run(main)
