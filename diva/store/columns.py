"""Further columns: what a delivery says of its samples beside path, label and group, kept with its types.

They stand after a table's own columns in manifests, indices and the release; what computes does not read them.
"""

from collections.abc import Collection, Sequence

import polars as pl

from diva.store import curated, index, manifest, release, tables

OWN = frozenset({*manifest.SCHEMA, *index.SCHEMA, *release.TRAIN, *release.REMOVED, *curated.SCHEMA, "groups"})
MOST = 64  # further columns of a delivery
CAPTIONS = ("text", "caption")  # shown beside an image
SOUND = "audio"  # path of a recording, which the page plays


def further(frame: pl.DataFrame, used: Sequence[str] = ()) -> pl.DataFrame:
    """The columns of a delivery's table that are kept: text, numbers, times, truth values; the first `MOST` of them.

    One that is called as a column of this project is stored under that name with an underscore after it, or
    with several where that name is taken.

    Args:
        frame: the table.
        used: columns that mean something already.
    """
    names = [name for name, dtype in frame.schema.items() if name not in used and name.strip() and _is_plain(dtype)]
    taken, stored = {*OWN, *names}, {}
    for name in names[:MOST]:
        stored[name] = free_name(name, taken) if name in OWN else name
        taken.add(stored[name])
    table = frame.select(pl.col(name).alias(other) for name, other in stored.items())
    return without_durations(table.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String)))


def free_name(name: str, taken: Collection[str]) -> str:
    """A name with as many underscores after it as make it another than those that are taken."""
    while name in taken:
        name += "_"
    return name


def without_durations(frame: pl.DataFrame) -> pl.DataFrame:
    """Durations as text of ISO 8601: most tables cannot hold them otherwise."""
    return frame.with_columns(pl.col(pl.Duration).dt.to_string("iso"))


def _is_plain(dtype: pl.DataType) -> bool:
    named = dtype.base_type() in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)
    return named or dtype.is_numeric() or dtype.is_temporal()


def described(rows: pl.DataFrame, *sources: pl.DataFrame) -> pl.DataFrame:
    """Rows with the further columns that ``sources`` (manifests, indices) have of them; of each, the first value."""
    own = [[name for name in source.columns if name not in OWN] for source in sources]
    if not any(own):
        return rows
    named = [source.select("sample_id", *names) for source, names in zip(sources, own, strict=True)]
    columns = tables.stacked(named).group_by("sample_id", maintain_order=True).agg(pl.all().drop_nulls().first())
    return rows.join(columns, on="sample_id", how="left", maintain_order="left")
