"""Hugging Face data sets on disk, read without their library.

    a folder that ``save_to_disk`` wrote     Arrow files, or a folder of such folders, one a split
    .parquet with a column of images         a file, or a folder of them; its schema names the classes
    a folder with metadata.csv or .jsonl     ``imagefolder``: file_name, label, …; or below each split

Images that lie in a table are written into one tar in the batch's folder; those named by a path stay where they are.
A folder with images that none of this names is no such data set, but for images beside a list, which are set aside.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from diva.ingest.folders import SPLITS, images_below
from diva.ingest.formats.listing import CLIMBS, LABELS, FormatOptions, Listing, Shard, frame_of, inside, only
from diva.ingest.images import MAX_PIXELS, Fault, Listed
from diva.store import manifest, tables
from diva.store.columns import further
from diva.text.labels import normalized, plain_text

NAME = "huggingface"
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
LONGEST = 1 << 16  # bytes of a first line
ROWS = 512  # whose images are in memory at once
UNLISTED = "Name it there, or take it away; --format plain reads folders of classes."
EMPTY = Fault("no image: the cell is empty", "Put the image there, or take the row out.")


def recognises(source: str) -> bool:
    """Whether a source is one of the three."""
    path = Path(source)
    if path.is_file():
        return path.suffix.lower() == ".parquet" and bool(_images(_schema(path)))
    if not path.is_dir() or (path / "dataset_dict.json").is_file() or (path / "dataset_info.json").is_file():
        return path.is_dir()
    files = [file for file in _parquet(path, None) if _images(_schema(file))]
    if files:
        return not any(images_below(path)) or not _outside(
            path, {entry for file in files for entry in _named_files(file)}
        )
    lists = {file.parent for file in _metadata(path, None)}
    if path in lists:
        return True
    return bool(lists) and all(folder.name.lower() in SPLITS for folder in lists) and not _outside(path, lists)


def _outside(folder: Path, covered: set[Path]) -> bool:
    """Whether an image below a folder neither is nor lies below any of these paths."""
    return any(covered.isdisjoint((image, *image.parents)) for image in images_below(folder))


def splits(source: str) -> list[str]:
    """The splits that a source holds; none where it is not divided."""
    path = Path(source)
    if (path / "dataset_dict.json").is_file():
        content = json.loads((path / "dataset_dict.json").read_text("utf-8"))
        return sorted(Path(str(name)).name for name in content.get("splits", []))
    if not path.is_dir() or (path / "dataset_info.json").is_file():
        return []
    named = {file.name.split("-")[0].removesuffix(".parquet") for file in _parquet(path, None)}
    named |= {folder.parent.name for folder in _metadata(path, None) if folder.parent != path}
    return sorted(named & {"train", "test", "validation", "val", "dev"})


def _parquet(folder: Path, split: str | None) -> list[Path]:
    files = sorted({*folder.glob("*.parquet"), *folder.glob("data/*.parquet")} - {folder / METADATA[2]})
    of_split = [file for file in files if split is None or file.name.split("-")[0].removesuffix(".parquet") == split]
    return of_split or sorted(folder.glob(f"{split or '*'}/*.parquet"))


def _metadata(folder: Path, split: str | None) -> list[Path]:
    folders = [folder / split] if split else [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    lists = [inner / name for inner in folders for name in METADATA if (inner / name).is_file()]
    return [path for path in lists if _names_files(path)]


def _names_files(path: Path) -> bool:
    """Whether a list begins as those of imagefolder do."""
    if path.suffix == ".parquet":
        return "file_name" in _schema(path)
    with path.open("rb") as file:
        return b"file_name" in file.readline(LONGEST)


def _schema(path: Path) -> pl.Schema:
    try:
        return pl.Schema(tables.parse(pl.read_parquet_schema, path, "parquet file"))
    except ValueError:
        return pl.Schema()


def _images(schema: pl.Schema) -> list[str]:
    """Columns that hold images as the library stores them: bytes and a path."""
    return [
        name
        for name, dtype in schema.items()
        if isinstance(dtype, pl.Struct) and {field.name for field in dtype.fields} >= {"bytes", "path"}
    ]


class HuggingFace:
    """A data set of Hugging Face.

    Args:
        source: a folder or a file.
        options: ``columns``: which column holds the image (path) and which the label; ``split``.
    """

    title = "a Hugging Face data set"

    def __init__(self, source: str, options: FormatOptions) -> None:
        self.path, self.options = Path(source), options
        several = splits(source)
        if several and options.split not in several:
            raise ValueError(f"{source} holds the splits {', '.join(several)}: choose one by --split.")
        self.metadata, self.tables, self.names = self._located()
        if not self.metadata and not self.tables:
            raise ValueError(f"source must be a data set of Hugging Face, got {source}, which holds none.")

    def _located(self) -> tuple[list[Path], list[Path], dict[str, list[str]]]:
        """Lists of files, tables with images, and the names of classes by column."""
        path, split = self.path, self.options.split
        if path.is_file():
            return [], [path], _names_of_parquet(path)
        saved = path / split if split and (path / "dataset_dict.json").is_file() else path
        if (saved / "state.json").is_file():
            info = json.loads((saved / "dataset_info.json").read_text("utf-8"))
            state = json.loads((saved / "state.json").read_text("utf-8"))
            files = [saved / Path(str(entry["filename"])).name for entry in state["_data_files"]]
            return [], files, _names(info)
        files = [file for file in _parquet(path, split) if _images(_schema(file))]
        return ([], files, _names_of_parquet(files[0])) if files else (_metadata(path, split), [], {})

    def files(self) -> list[Path]:
        """Tables and lists, and the images that the lists name."""
        if self.metadata:
            named = [entry.path for entry in self.listing(None).listed if not entry.fault]
        else:
            named = [path for table in self.tables for path in _named_files(table, self.options.columns.get("path"))]
        return [*self.tables, *self.metadata, *(path for path in named if path.is_file())]

    def listing(self, folder: Path | None, max_pixels: int = MAX_PIXELS) -> Listing:  # noqa: ARG002 - of files as they are
        """A sample each row."""
        parts = [self._of_list(path) for path in self.metadata]
        parts = [*parts, self._unlisted([listed for listed, _ in parts])] if parts else list(self._of_tables(folder))
        rows = tables.stacked([rest for _, rest in parts]) if parts else pl.DataFrame()
        return Listing([entry for listed, _ in parts for entry in listed], rows)

    def _of_list(self, path: Path) -> tuple[list[Listed], pl.DataFrame]:
        """What a metadata file names."""
        readers: dict[str, Any] = {".csv": tables.read_csv, ".jsonl": pl.read_ndjson, ".parquet": tables.read_parquet}
        frame = tables.parse(readers[path.suffix], path, "list of images")
        if "file_name" not in frame.columns:
            raise ValueError(f"{path} must have the column file_name, got {', '.join(frame.columns)}.")
        label = self._label(frame.schema)
        listed = []
        for row in frame.iter_rows(named=True):
            name = str(row["file_name"] or "")
            file = inside(path.parent, name) if name else None
            given = row[label] if label else Path(name).parent.name or None
            fault = None if file else (CLIMBS if name else EMPTY)
            listed.append(Listed(file or path.parent / "?", name, normalized(given), fault, _group(row)))
        return listed, further(frame, ("file_name", *([label] if label else []), *manifest.GROUPS))

    def _unlisted(self, lists: list[list[Listed]]) -> tuple[list[Listed], pl.DataFrame]:
        """The images beside the lists that none of them names."""
        named = [
            table.parent / entry.name.replace("\\", "/")
            for table, listed in zip(self.metadata, lists, strict=True)
            for entry in listed
        ]
        there, unlisted = {os.path.normpath(path) for path in named}, {}
        for table in self.metadata:
            for image in images_below(table.parent):
                if os.path.normpath(image) not in there:
                    fault = Fault(f"not listed in {table.name}", UNLISTED)
                    unlisted[image] = Listed(image, image.relative_to(self.path).as_posix(), None, fault)
        return list(unlisted.values()), frame_of([{}] * len(unlisted))

    def _of_tables(self, folder: Path | None) -> Iterator[tuple[list[Listed], pl.DataFrame]]:
        shard = Shard(folder, self.tables, self.options.max_bytes)
        try:
            for file in self.tables:
                for number, frame in enumerate(_chunks(file, folder is None)):
                    yield self._of_rows(frame, shard, file, number * ROWS)
        finally:
            shard.close()

    def _of_rows(self, frame: pl.DataFrame, shard: Shard, file: Path, first: int) -> tuple[list[Listed], pl.DataFrame]:
        image = self.options.columns.get("path") or only(
            _images(frame.schema), "column of images", str(self.path), "--columns path=NAME"
        )
        label = self._label(frame.schema)
        names = self.names.get(label or "", [])
        listed = []
        for number, row in enumerate(frame.iter_rows(named=True), first):
            path, name, fault = _put(row[image], shard, f"{file.stem}-{number:07d}", file.parent)
            given = _named(row[label], names) if label else None
            listed.append(Listed(path, name, normalized(given), fault, _group(row)))
        return listed, further(frame, (image, *([label] if label else []), *manifest.GROUPS))

    def _label(self, schema: pl.Schema) -> str | None:
        """The column of labels: as asked, the one with names of classes, or one that is usually called so."""
        asked = self.options.columns.get("label")
        if asked or len(self.names) == 1:
            wanted = asked or next(iter(self.names))
            if wanted not in schema:
                raise ValueError(f"{self.path} must have the column {wanted}, got {', '.join(schema)}.")
            return wanted
        if len(self.names) > 1:
            return only(list(self.names), "column of labels", str(self.path), "--columns label=NAME")
        return next((name for name in LABELS if name in schema), None)


def _opened(file: Path) -> pl.LazyFrame:
    if not file.is_file():
        raise ValueError(f"{file} must be there, got nothing.")
    arrow = file.suffix.lower() == ".arrow"
    return tables.parse(pl.read_ipc_stream, file, "Arrow file").lazy() if arrow else pl.scan_parquet(file, glob=False)


def _named_files(file: Path, column: str | None = None) -> list[Path]:
    """Files that the cells of a table name instead of holding them; ``column``: of images, None for all that are."""
    frame = _opened(file)
    try:
        schema, names = frame.collect_schema(), []
        for name in [column] if column and column in schema else _images(schema):
            cell, whole = pl.col(name), isinstance(schema[name], pl.Struct)
            cells = frame.filter(cell.struct.field("bytes").is_null()) if whole else frame
            paths = cells.select(cell.struct.field("path") if whole else cell.cast(pl.String))
            names += paths.collect(engine="streaming").to_series().drop_nulls().to_list()
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{file} must be a readable table: {' '.join(str(error).split())[:200]}") from None
    return [path for name in dict.fromkeys(names) if name and (path := inside(file.parent, name))]


def _chunks(file: Path, headers: bool) -> Iterator[pl.DataFrame]:
    """Rows of a table, some at a time; ``headers``: without the bytes of images."""
    frame = _opened(file)
    try:
        schema = frame.collect_schema()
        if headers:
            frame = frame.with_columns(
                pl.col(name).struct.with_fields(pl.lit(b"").alias("bytes")) for name in _images(schema)
            )
            yield frame.collect()
            return
        for start in range(0, int(frame.select(pl.len()).collect().item()), ROWS):
            yield frame.slice(start, ROWS).collect()
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{file} must be a readable table: {' '.join(str(error).split())[:200]}") from None


def _put(cell: Any, shard: Shard, name: str, base: Path) -> tuple[Path, str, Fault | None]:
    """Where the image of a cell lies, what it is called, and what is wrong with it."""
    cell = cell if isinstance(cell, dict) else {"path": cell, "bytes": None} if isinstance(cell, str) else {}
    own = str(cell.get("path") or "")
    called = f"{name}{Path(own).suffix}"
    if cell.get("bytes") is not None:
        return shard.add(cell["bytes"], called), called, None
    file = inside(base, own) if own else None
    return file or Path(called), called, None if file else (CLIMBS if own else EMPTY)


def _group(row: dict[str, Any]) -> str | None:
    return plain_text(next((row[name] for name in manifest.GROUPS if name in row), None))


def _named(code: Any, names: list[str]) -> Any:
    """The class that a number stands for; −1 is none."""
    if not names or not isinstance(code, int):
        return code
    return names[code] if 0 <= code < len(names) else None


def _names(info: dict[str, Any]) -> dict[str, list[str]]:
    """Names of classes by column, of a data set's description."""
    features = info.get("features") or {}
    return {
        name: [str(entry) for entry in feature.get("names", [])]
        for name, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _names_of_parquet(path: Path) -> dict[str, list[str]]:
    try:
        return _names(json.loads(pl.read_parquet_metadata(path).get("huggingface", "{}")).get("info", {}))
    except (ValueError, AttributeError):
        return {}
