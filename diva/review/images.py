"""The images that the report may link: those of samples, as they were curated, and nothing else on this machine.

A link of the page leads to an address of the server that mirrors the file's own place, below the token: relative links
work here as they do from disk, and the page begins absolute ones with its token. Whether a file is shown is decided by
what is known of it: its path must be that of a sample, its content must have that sample's hash, and it must be an
image.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import NamedTuple

import polars as pl
from PIL import Image

from diva.store import curated, index, ledger, manifest, parts, paths, remote
from diva.versions import takedowns
from diva.vision.formats import FORMATS


class Picture(NamedTuple):
    """An image as the server sends it: its bytes and their type."""

    content: bytes
    kind: str


class Gallery:
    """Images by their place, an absolute path without links followed.

    Args:
        rows: path and sample_id of all samples.
        root: folder that relative paths start from.
    """

    def __init__(self, rows: pl.DataFrame, root: Path) -> None:
        places = rows.unique(maintain_order=True).select("path", "sample_id").iter_rows()
        self._samples = {
            os.path.normpath(root / path): (path if remote.url_of(path) else root / path, sample_id)
            for path, sample_id in places
        }

    def __len__(self) -> int:
        return len(self._samples)

    def picture(self, path: str) -> Picture | None:
        """The image at a place; None where no sample has it, or the file is not what was curated."""
        file, sample_id = self._samples.get(path, (None, ""))
        try:
            content = b"" if file is None else parts.read(file)
        except (OSError, ValueError):
            return None
        if hashlib.sha256(content).hexdigest()[: manifest.ID_LENGTH] != sample_id:
            return None
        kind = _kind(content)
        return Picture(content, kind) if kind else None


def _kind(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:  # the header alone
            return Image.MIME.get(image.format or "")
    except Exception:  # a decoder fails in any way on what is no image
        return None


def samples(book: ledger.Ledger) -> pl.DataFrame:
    """path and sample_id of every image of the manifests, the pool and the newest set (a compacted one has moved).

    What was taken down is not among them.
    """
    columns = ["path", "sample_id"]
    stored = filter(Path.is_file, map(paths.manifest, ledger.order(book)))
    manifests = (manifest.read(path).filter(pl.col("row").is_null()) for path in stored)
    newest_pool = ledger.newest_stored(ledger.pools(book), paths.pool)
    newest = (index.whole(newest_pool), curated.read(ledger.newest_stored(ledger.sets(book), paths.curated)))
    rows = pl.concat([frame.select(columns) for frame in (*manifests, *newest)]).unique(maintain_order=True)
    return rows.join(takedowns.read(), on="sample_id", how="anti", maintain_order="left")
