"""Stage reweight: which samples get a weight."""

from pathlib import Path

import polars as pl

from diva.store import curated, index, ledger, paths, release, tables
from tests.projects import stage_inputs as small


def test_what_people_took_down_or_relabelled_is_so_in_the_rest_of_the_pool_too(workplace: Path) -> None:
    """Samples that no round added: one taken down, one relabelled, one as it was delivered."""
    book = ledger.accept(
        ledger.start(ledger.Batch(source="core", checksum="none", options={})), None, "more", {}, "none"
    )
    book = ledger.plan_round(ledger.plan_review(book, "forget", "none"), small.SETTINGS)
    ledger.write(paths.LEDGER, book)
    row = {"batch": "b001", "features": "f.h5", "row": 0, "label": "a", "path": "p", "checksum": "c"}
    pool = pl.DataFrame([{"sample_id": name, **row} for name in ("added", "gone", "other", "rest")])
    index.write(paths.pool("b001"), tables.conform(pool, index.SCHEMA, "index"))
    curated.write(paths.curated("r001"), curated.entered(pool.filter(sample_id="added"), "pool", "r001"))
    said = [("gone", "reject", None, "forgotten"), ("other", "relabel", "b", None)]
    tables.write(paths.review("v001"), pl.DataFrame(said, dict(curated.REVIEW), orient="row"), curated.REVIEW)
    state, review = curated.read(book.latest), release.obeyed(book)
    labels = release.to_weigh("everything", state, pool, review).select("sample_id", "label").rows()
    assert labels == [("added", "a"), ("other", "b"), ("rest", "a")]
    assert release.to_weigh("members", state, pool, review)["sample_id"].to_list() == ["added"]
