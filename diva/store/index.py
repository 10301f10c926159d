"""An index: which samples there are, and in which row of which file of features each of them lies."""

from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl

from diva.store import digests, manifest, paths, tables
from diva.store.features import FeatureFile
from diva.text.labels import Spelling

SCHEMA: tables.Schema = tables.OpenSchema({
    "sample_id": pl.String,
    "batch": pl.String,
    "features": pl.String,  # path of the file
    "row": pl.Int64,  # within that file
    "label": pl.String,  # null where the sample waits for one
    "path": pl.String,  # of the image, or of the ready features
    "group": pl.String,  # what is left out together with it; null where it stands by itself
    "pixels": pl.String,  # hash of the decoded image; null where the manifest has none
    "checksum": pl.String,  # sha256 of the file of features
})  # fmt: skip

RELATIVES: tables.Schema = {"sample_id": pl.String, "group": pl.String}  # of samples that are left out together
MAKING = ("backbone", "weights_sha256", "transform")  # what features of one project have in common
CONTRADICTED = "One of both labels is wrong: look at it by diva review, or say it by diva relabel."


def read(path: Path, *, further: bool = False, only: Collection[str] | None = None) -> pl.DataFrame:
    """The index at ``path``, without the samples that wait for their labels: these never train; as `whole`.

    Its columns are all of `SCHEMA`, or ``only`` some, ``label`` among them.
    """
    return labelled(tables.read(path, SCHEMA, further=further, only=only))


def described(path: Path) -> pl.DataFrame:
    """Groups of labelled samples of an index, and what deliveries say of them beside; what says neither is not read."""
    wanted = ("sample_id", "label", "group")
    if path.exists() and {*pl.read_parquet_schema(path)} <= SCHEMA.keys() - {"group"}:
        return tables.empty(SCHEMA).select(wanted)
    return read(path, further=True, only=wanted)


def whole(path: Path, *, further: bool = False) -> pl.DataFrame:
    """The index at ``path``, with samples that wait for their labels; ``further``: with what deliveries say beside."""
    return tables.read(path, SCHEMA, further=further)


def labelled(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that have a label."""
    return rows.filter(pl.col("label").is_not_null())


def without_answered(rows: pl.DataFrame, samples: pl.DataFrame) -> pl.DataFrame:
    """Rows of an index less those that wait for the label that ``samples``, a later delivery, bring."""
    answered = pl.lit(value=False)
    for key in ("sample_id", "pixels"):
        answered |= pl.col(key).is_in(labelled(samples)[key].drop_nulls().implode()).fill_null(value=False)
    return rows.filter(pl.col("label").is_not_null() | ~answered)


def write(path: Path, frame: pl.DataFrame) -> None:
    """Write an index."""
    tables.write(path, frame, SCHEMA)


def require_same_making(features: Path, others: pl.Series) -> None:
    """Refuse a file of features that was made in another way than those at the paths ``others``.

    Raises:
        ValueError: another backbone, other weights or another transform; the difference is named.
    """
    own = FeatureFile(features)
    if not own.shape[0]:  # an empty batch: nothing was made
        return
    for path in others.unique(maintain_order=True):
        made = FeatureFile(path).attributes
        for key in MAKING if made.get("weights_sha256") else (*MAKING, "weights", "seed"):
            if own.attributes.get(key) != made.get(key):
                raise ValueError(
                    f"{features} must be made as {path} was, whose {key} is {made.get(key)}, got "
                    f"{own.attributes.get(key)}; one project has one backbone, one weights file, one transform."
                )


def rows_in(stored: FeatureFile) -> pl.DataFrame:
    """``sample_id`` and ``row`` of a file of features, which may have none."""
    return pl.DataFrame({"sample_id": stored.sample_id}, {"sample_id": pl.String}).with_row_index("row")


def of_batch(batch: str, samples: pl.DataFrame, features: Path) -> pl.DataFrame:
    """Index of a batch: its manifest joined with its file of features, in the order of the latter.

    Raises:
        ValueError: the file of features holds samples that the manifest does not.
    """
    stored = FeatureFile(features)
    described = samples.select("sample_id", "label", "path", "group", "pixels")
    joined = rows_in(stored).join(described, on="sample_id", how="left", maintain_order="left")
    strangers = joined.filter(pl.col("path").is_null())["sample_id"]
    if len(strangers):
        raise ValueError(
            f"{features} must hold samples of the manifest of {batch} only, got {len(strangers)} others "
            f"(first: {strangers[0]}); extract that batch again."
        )
    where = {"batch": batch, "features": features.as_posix(), "checksum": digests.sha256(features)}
    return tables.conform(joined.with_columns(**{name: pl.lit(value) for name, value in where.items()}), SCHEMA, batch)


def read_batch(batch: str) -> pl.DataFrame:
    """Index of a batch of the ledger, from its manifest and its features."""
    return of_batch(batch, manifest.read(paths.manifest(batch)), paths.features(batch))


def groups(*frames: pl.DataFrame, stored: bool = True) -> pl.DataFrame:
    """Which samples are left out together: sample_id, and the number of their group."""
    whole = group_names(*frames, stored=stored)
    return whole.select("sample_id", number=pl.col("group").rank("dense").cast(pl.Int64))


def group_names(*frames: pl.DataFrame, stored: bool = True) -> pl.DataFrame:
    """sample_id and group of samples that have one: as indices name it, or as near relatives are ``stored``."""
    named = [frame.select(list(RELATIVES)).drop_nulls() for frame in frames]
    if stored and paths.RELATIVES.exists():
        named.append(tables.read(paths.RELATIVES, RELATIVES))
    return pl.concat(named).unique("sample_id", keep="first", maintain_order=True)


def with_groups(*frames: pl.DataFrame) -> pl.DataFrame:
    """Index rows, one frame after the other, with the groups of near relatives beside those that they name."""
    names = group_names(*frames).rename({"group": "name"})
    joined = pl.concat(frames).join(names, on="sample_id", how="left", maintain_order="left")
    return joined.with_columns(group=pl.coalesce("group", "name")).drop("name")


def without_groups_of(rows: pl.DataFrame, others: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that share no group with any of others, and the rest as quarantine: what is tested never trains."""
    tested = others["group"].drop_nulls().unique()
    shared = pl.col("group").is_in(tested.implode()).fill_null(value=False)
    reason = pl.format("group of the test set: {}", "group")
    refused = manifest.set_aside(rows.filter(shared), reason, "Nothing to do, or take the group out of the test set.")
    return rows.filter(~shared), refused


def delivered_ready(rows: pl.DataFrame, others: pl.DataFrame) -> pl.Series:
    """Which index rows are ready features equal to one of others: the same content, whatever id a file gave it."""
    contents = {content for content in _contents(others) if content}
    return pl.Series([content in contents for content in _contents(rows)], dtype=pl.Boolean)


def ready_contents(rows: pl.DataFrame) -> pl.Series:
    """Hash of each row's features where they came ready; null of images."""
    there = rows["features"].map_elements(lambda path: Path(path).is_file(), pl.Boolean)
    hashes = iter(_contents(rows.filter(there)))
    return pl.Series("ready", [next(hashes) or None if here else None for here in there], pl.String)


def _contents(rows: pl.DataFrame) -> Iterator[str]:
    """Hash of each row's features where they came ready; "" of images, whose id is the hash of their content."""
    by_file: dict[str, list[str]] = {}
    for path, row in rows.select("features", "row").iter_rows():
        if path not in by_file:
            stored = FeatureFile(path)
            by_file[path] = stored.contents() if stored.attributes.get("backbone") == "ready" else []
        yield by_file[path][row] if by_file[path] else ""


def admit(
    candidates: pl.DataFrame,
    taken: pl.DataFrame,
    classes: set[str] | None,
    tested: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates that may enter the pool, and the others as rows of a quarantine.

    Args:
        candidates: index of one batch.
        taken: sample_id, pixels, batch and label of all that came before: core, test, earlier batches of the pool.
        classes: of the core, whose spelling labels take; None to admit any class.
        tested: index of the test set, whose content must not come in under another id either.
    """
    joined = candidates
    for key in ("sample_id", "pixels"):
        names = {f"by_{key}": pl.col("batch"), f"called_{key}": pl.col("label")}
        before = taken.select(key, **names).drop_nulls((key, f"by_{key}")).unique(key, keep="first")
        joined = joined.join(before, on=key, how="left", maintain_order="left")
    joined = joined.with_columns(
        earlier=pl.coalesce("by_sample_id", "by_pixels"), called=pl.coalesce("called_sample_id", "called_pixels")
    )
    if tested is not None:
        test = pl.lit(delivered_ready(joined, tested))
        joined = joined.with_columns(earlier=pl.when(test).then(pl.lit("test")).otherwise("earlier"))
    if classes is not None:
        spelling = Spelling(classes)
        joined = joined.with_columns(pl.col("label").map_elements(spelling, pl.String))
    repeated = pl.col("earlier").is_not_null()
    foreign = (~pl.col("label").is_in(sorted(classes)) if classes is not None else pl.lit(value=False)).fill_null(
        value=False
    )
    contrary = (pl.col("called") != pl.col("label")).fill_null(value=False)
    other = pl.when(contrary).then(pl.format(", as {}", "called")).otherwise(pl.lit(""))
    remedy = pl.when(contrary).then(pl.lit(CONTRADICTED)).otherwise(pl.lit("Nothing to do."))
    reason = pl.format("already delivered: in {}{}", "earlier", other)
    repeats = manifest.set_aside(joined.filter(repeated), reason, remedy)
    strange = manifest.set_aside(
        joined.filter(~repeated & foreign),
        pl.format("class the core lacks: {}", "label"),
        "Add two samples of it to the core, or set download.new_classes: accept.",
    )
    return joined.filter(~repeated & ~foreign).select(list(SCHEMA)), pl.concat([repeats, strange])
