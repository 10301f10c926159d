"""Samples that were taken down: data/takedowns.csv, in git; no rollback changes it, every publication is checked by it.

Rounds obey takedowns as they obey any decision, by the newest review (``diva.versions.reviews``); this file says which
of them every review must hold. Beside each id stands the hash of the content, so that the same pixels in another file,
and the same ready features under another id, are taken down with it, whenever they come.
"""

import hashlib
from functools import cache
from pathlib import Path

import polars as pl

from diva.ingest import images
from diva.store import atomic, curated, index, ledger, manifest, paths, release, tables
from diva.versions.processes import git

FILE = paths.DATA / "takedowns.csv"
SCHEMA: tables.Schema = {"sample_id": pl.String, "note": pl.String, "content": pl.String}


def read() -> pl.DataFrame:
    """All takedowns: sample_id, note, and the hash of the content where it could be told."""
    if not FILE.is_file():
        return tables.empty(SCHEMA)
    frame = tables.parse(tables.read_csv, FILE, "table")
    if "content" not in frame.columns:  # of lists from before they held it
        frame = frame.with_columns(content=pl.lit(None, pl.String))
    return tables.conform(frame, SCHEMA, str(FILE))


def add(rows: pl.DataFrame) -> None:
    """Put more takedowns (sample_id, note; content where another clone told it) on the list, for ever.

    Content that the list lacks is filled in where it can be told now: from these rows, or from the samples.
    """
    before = read()
    both = pl.concat([before, rows.select(name for name in SCHEMA if name in rows.columns)], how="diagonal")
    whole = both.group_by("sample_id").agg(pl.all().drop_nulls().first()).sort("sample_id")
    untold = whole.filter(pl.col("content").is_null())
    if len(untold):
        hashes = contents(indexed().join(untold, on="sample_id", how="semi")).unique("sample_id")
        whole = whole.update(hashes, on="sample_id")
    if not whole.equals(before.sort("sample_id")):
        atomic.write_text(FILE, whole.write_csv())
    if FILE.is_file():
        git("add", "--force", "--", FILE.as_posix())


def indexed() -> pl.DataFrame:
    """Samples of core and pool, those too that wait for their labels, as far as their indices are here."""
    places = (paths.CORE, ledger.newest_stored(ledger.pools(ledger.read()), paths.pool))
    return pl.concat([tables.empty(index.SCHEMA), *(index.whole(path) for path in places if path.is_file())])


def contents(rows: pl.DataFrame) -> pl.DataFrame:
    """sample_id and content of index rows: hash of the pixels, or of the row of ready features; null of neither."""
    stored = rows.with_columns(content=pl.coalesce("pixels", index.ready_contents(rows)))
    # manifests of before have no hash of the pixels: it is taken from the image, where it is what was curated
    unknown = stored.filter(pl.col("content").is_null()).select("sample_id", "path").unique()
    unknown = unknown.filter(pl.col("path").is_unique())  # a file of ready features has many rows
    seen = {
        name: _pixels(path, name, Path(path).stat().st_mtime_ns)
        for name, path in unknown.iter_rows()
        if Path(path).is_file()
    }
    of_files = pl.col("sample_id").replace_strict(seen, default=None, return_dtype=pl.String)
    return stored.select("sample_id", content=pl.coalesce("content", of_files))


@cache
def _pixels(path: str, sample_id: str, _changed: int) -> str | None:
    """Hash of an image's pixels, once in a process: a night asks several times."""
    is_curated = (images.digest(Path(path)) or "")[: manifest.ID_LENGTH] == sample_id
    return images.pixels(Path(path)) if is_curated else None


def twins() -> pl.DataFrame:
    """Samples of core and pool whose content was taken down under another id: sample_id, and the note of that."""
    listed = read().drop_nulls("content").unique("content", keep="first", maintain_order=True)
    if listed.is_empty():
        return tables.empty(SCHEMA).select("sample_id", "note")
    same = contents(indexed()).join(listed.select("content", "note"), on="content", how="inner", maintain_order="left")
    return same.join(read(), on="sample_id", how="anti", maintain_order="left").select("sample_id", "note")


def digest(sample_id: pl.Series) -> str:
    """Tells takedowns from others: a report bears that of the samples it leaves out."""
    return hashlib.sha256("\n".join(sample_id.unique().sort()).encode()).hexdigest()


def require_absent(name: str) -> None:
    """Refuse to publish a set, or a release, that holds what was taken down; ValueError names the first."""
    gone = pl.concat([read()["sample_id"], twins()["sample_id"]]).implode()
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
