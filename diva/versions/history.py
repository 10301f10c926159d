"""All versions as a table of text; apart from what reads parquet, so that listing them starts at once."""

from collections.abc import Sequence

from diva.text.words import NOTHING, Column, Row, Table, count, with_interval
from diva.versions.published import Version


def listed(listing: Sequence[Version], current: str | None) -> Table:
    """All versions, newest first; the work tree's is marked."""
    columns = (
        Column("version", number=False),
        Column("date", number=False, wide=True),
        Column("round", number=False),
        *map(Column, ("size", "added", "removed", "test error, %")),
    )
    rows = (Row(_cells(version), used=version.name == current) for version in reversed(listing))
    notes = ("added, removed: in all rounds so far", *(("▸ what lies here now",) if current else ()))
    return Table("Versions", columns, tuple(rows), notes)


def _cells(version: Version) -> tuple[str, ...]:
    figures = {"error": version.error, "low": version.low, "high": version.high}
    counts = (NOTHING if n is None else count(n) for n in (version.size, version.added, version.removed))
    return (
        version.name,
        version.date[:16].replace("T", " "),
        version.round or NOTHING,
        *counts,
        with_interval(figures) if version.error is not None else NOTHING,
    )
