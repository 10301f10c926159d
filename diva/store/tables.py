"""Parquet tables with a schema: read and checked, or written whole and with the same bytes every time."""

import codecs
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from diva.numerics import cores
from diva.store import atomic
from diva.text.targets import BAR

T = TypeVar("T")
Schema = Mapping[str, type[pl.DataType]]
SEPARATORS = ",;\t|"
FORMULA = "=+-@"  # begins a formula in a spreadsheet
OPTIONAL = ("group", "pixels", "reviewer")  # columns that are stored only where a row has a value in them


class OpenSchema(dict[str, type[pl.DataType]]):
    """Columns that a table has, and after which it may have further ones, of any type."""


def empty(schema: Schema) -> pl.DataFrame:
    """The header alone."""
    return pl.DataFrame(schema=dict(schema))


def conform(frame: pl.DataFrame, schema: Schema, where: str, *, further: bool = False) -> pl.DataFrame:
    """``frame`` with the schema's columns, in its order and types; ValueError where it cannot be.

    Args:
        frame: a table.
        schema: its columns.
        where: what the table is, for the message.
        further: keep the columns beside those of an open schema; otherwise they are dropped.
    """
    absent = [name for name in OPTIONAL if name in schema and name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, schema[name]).alias(name) for name in absent)
    missing = [name for name in schema if name not in frame.columns]
    unknown = [name for name in frame.columns if name not in schema]
    if missing or (unknown and not isinstance(schema, OpenSchema)):
        raise ValueError(f"{where} must have the columns {', '.join(schema)}; missing {missing}, unknown {unknown}.")
    try:
        own = [_column(name, frame.schema[name], dtype) for name, dtype in schema.items()]
        return frame.select(*own, *(unknown if further else ()))
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{where} must have the types of {dict(schema)}: {error}") from None


def _column(name: str, stored: pl.DataType, dtype: type[pl.DataType]) -> pl.Expr:
    """A column in the type of a schema; several labels of a sample are one text."""
    column = pl.col(name)
    if isinstance(stored, pl.List) and dtype == pl.String:
        column = column.list.join(BAR).replace("", BAR)
    return column.cast(dtype)


def stacked(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Frames one after the other; a column that some lack is empty there, one that has several types becomes text."""
    frames = list(frames)
    types: dict[str, set[pl.DataType]] = {}
    for name, dtype in (column for frame in frames for column in frame.schema.items()):
        types.setdefault(name, set()).add(dtype)
    mixed = {name for name, several in types.items() if len(several) > 1}
    texts = [frame.with_columns(pl.col(mixed & {*frame.columns}).cast(pl.String)) for frame in frames]
    return pl.concat(texts, how="diagonal")


def read(path: Path, schema: Schema, *, further: bool = False, only: Collection[str] | None = None) -> pl.DataFrame:
    """The table at ``path``; ValueError where it is missing, unreadable or has other columns; as in `conform`.

    Of the schema's columns ``only`` some are read, where these are given: the others take no memory.
    """
    if not path.exists():
        raise ValueError(f"{path} must exist, got nothing; `dvc repro` or `dvc pull` makes it.")
    kind = OpenSchema if isinstance(schema, OpenSchema) else dict
    wanted: Schema = schema if only is None else kind({name: schema[name] for name in schema if name in only})

    def stored(path: Path) -> pl.DataFrame:
        names = pl.read_parquet_schema(path) if only is not None else ()
        return read_parquet(path, [name for name in names if name in wanted or name not in schema] or None)

    return conform(parse(stored, path, "parquet file"), wanted, str(path), further=further)


def read_parquet(path: Path, columns: list[str] | None = None) -> pl.DataFrame:
    """One file, whatever its name looks like; all of its columns, or some."""
    return pl.read_parquet(path, columns=columns, glob=False, hive_partitioning=False)


def read_csv(path: Path) -> pl.DataFrame:
    """All columns as text."""
    return pl.read_csv(path, glob=False, infer_schema=False)


def decoded(path: Path, *, utf_16: bool = False) -> str:
    """The text of a file in UTF-8, or, where allowed, in UTF-16 with its mark; ValueError that names the line."""
    content = path.read_bytes()
    if utf_16 and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _one_newline(content.decode("utf-16"))
    try:
        return _one_newline(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        if content.startswith((b"PK", b"\xd0\xcf\x11\xe0", b"\x1f\x8b")):
            raise ValueError(f"{path} must be text, got a workbook or an archive; save it as .csv.") from None
        line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
        raise ValueError(
            f"{path} must be text in UTF-8, got the byte 0x{byte:02x} in line {line}; save it as UTF-8."
        ) from None


def separator(line: str) -> str:
    """What separates the cells of a line: a comma, a semicolon, a tab or a bar."""
    return max(SEPARATORS, key=line.count)


def no_formula(text: str | None) -> str | None:
    """A text that no spreadsheet takes for a formula: an apostrophe stands before what would begin one."""
    return f"'{text}" if text and text[0] in FORMULA else text


def as_written(text: str) -> str:
    """The text that ``no_formula`` made harmless."""
    return text[1:] if text[:1] == "'" and text[1:2] and text[1] in FORMULA else text


def _one_newline(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse(read: Callable[[Path], T], path: Path, what: str) -> T:
    """``read(path)``, by polars; ValueError where the file is no ``what``, whatever polars raised."""
    if not path.is_file():  # a named pipe would wait for ever
        got = "no regular file" if path.exists() else "nothing: no file lies there"
        raise ValueError(f"{path} must be a readable {what}, got {got}.")
    size, room = path.stat().st_size, cores.memory()
    if not 0 < size <= room:  # files of the kernel have no size, or a fantastic one, and some of them no end
        raise ValueError(f"{path} must be a readable {what}: it must have 1 to {room} bytes, got {size}.")
    try:
        return read(path)
    except (Exception, pl.exceptions.PanicException) as error:  # it panics on some damaged files
        raise ValueError(f"{path} must be a readable {what}: {' '.join(str(error).split())[:300]}") from None


def without_empty(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame as it is stored: without columns that are there only where a row has a value in them."""
    return frame.drop(name for name in OPTIONAL if name in frame.columns and frame[name].is_null().all())


def write(path: Path, frame: pl.DataFrame, schema: Schema) -> None:
    """Write ``frame`` whole or not at all; equal frames give equal bytes (one row group layout, no time stamps)."""
    whole = without_empty(conform(frame, schema, str(path), further=True)).rechunk()
    with atomic.replacing(path) as temporary:
        whole.write_parquet(temporary, compression="zstd", statistics=True, row_group_size=1 << 17)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON mapping, indented, keys in the order given."""
    atomic.write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON mapping; ValueError where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} must exist, got nothing; `diva run` makes it.") from None
    except ValueError as error:
        raise ValueError(f"{path} must be readable JSON: {error}; `diva run` makes it anew.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping, got {type(content).__name__}.")
    return content
