"""Curated sets of versions."""

import polars as pl

from diva.store import curated, paths
from diva.versions import contents, published


def read(name: str) -> pl.DataFrame:
    """The curated set of a version (``curated@v0.3.0``, or ``v0.3.0``), from DVC's cache or its remote."""
    version = published.find(name)
    return curated.read(contents.fetch(version, paths.curated(contents.newest_round(version))))
