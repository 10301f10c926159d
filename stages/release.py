"""Stage ``release``: the newest curated set at a constant path, ready to train on."""

import json
import logging

from diva.store import curated, index, ledger, paths, release, tables
from stages.command import run
from stages.params import section
from stages.params.release import Release

logger = logging.getLogger(__name__)


def main() -> None:
    """Training set, removed samples and summary."""
    setting, book = section.read("release", Release).weights, ledger.read()
    newest = book.latest
    weights = tables.read(paths.WEIGHTS, release.WEIGHTS)
    pool = index.read(paths.pool(ledger.newest_pool(book)))
    state = release.complete(curated.read(newest), weights, pool, release.obeyed(book))
    held_out = json.loads(paths.metrics("reweight").read_text(encoding="utf-8")).get("held_out")
    verdict = release.verdict(setting, held_out)
    train, removed = release.frames(state, weights, verdict.kept)
    tables.write(paths.TRAIN, train, release.TRAIN)
    tables.write(paths.REMOVED, removed, release.REMOVED)
    tables.write_json(paths.SUMMARY, release.summary(newest, state, train, verdict, setting))
    counts = {name: count for name, count in curated.counts(state).items() if name != "members"}
    metrics = {"samples": len(train), **counts, "weighted": verdict.kept, "why": verdict.reason}
    tables.write_json(paths.metrics("release"), metrics)
    kept = "weights kept" if verdict.kept else "no weights"
    logger.info("%s: %d members, %d removed; %s: %s", newest, len(train), len(removed), kept, verdict.reason)


if __name__ == "__main__":
    run(main)
