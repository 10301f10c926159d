"""Samples that were taken down: data/takedowns.csv, in git; no rollback changes it, every publication is checked by it.

Rounds obey takedowns as they obey any decision, by the newest review (``diva.versions.reviews``); this file says which
of them every review must hold.
"""

from pathlib import Path

import polars as pl

from diva.store import atomic, curated, paths, release, tables
from diva.versions.processes import git

FILE = paths.DATA / "takedowns.csv"
SCHEMA: tables.Schema = {"sample_id": pl.String, "note": pl.String}


def read() -> pl.DataFrame:
    """All takedowns: sample_id and note."""
    if not FILE.is_file():
        return tables.empty(SCHEMA)
    return tables.conform(tables.parse(tables.read_csv, FILE, "table"), SCHEMA, str(FILE))


def add(rows: pl.DataFrame) -> None:
    """Put more takedowns (sample_id, note) on the list, for ever."""
    before = read()
    new = rows.select(list(SCHEMA)).join(before, on="sample_id", how="anti")
    if len(new):
        atomic.write_text(FILE, pl.concat([before, new]).sort("sample_id").write_csv())
    if FILE.is_file():
        git("add", "--force", "--", FILE.as_posix())


def require_absent(name: str) -> None:
    """Refuse to publish a set, or a release, that holds what was taken down; ValueError names the first."""
    gone = read()["sample_id"].implode()
    members = curated.read(name).filter(pl.col("status") == "member")
    for where, rows in ((paths.curated(name), members), (paths.TRAIN, _released())):
        present = rows.filter(pl.col("sample_id").is_in(gone))["sample_id"]
        if len(present):
            raise ValueError(
                f"{where} must hold no sample that was taken down, got {len(present)} (first: {present[0]}); the next "
                "night makes a round without them."
            )


def _released() -> pl.DataFrame:
    return tables.read(paths.TRAIN, release.TRAIN) if Path(paths.TRAIN).is_file() else tables.empty(release.TRAIN)
