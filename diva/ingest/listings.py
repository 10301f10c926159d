"""Lists of images: a .csv, .tsv, .txt or .parquet file with the columns path and label; paths start at its folder.

Where none of them is there, they may start at a folder in that one, and lack their ending, as ids do.
Where samples may wait for their labels, the latter may be empty, or missing.

A text may be separated by commas, semicolons, tabs, bars or blanks, in UTF-8 or UTF-16, and begin with ``sep=;`` or a
title.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import polars as pl
from pydantic import BaseModel, ConfigDict

from diva.ingest.images import Fault, Listed
from diva.store import manifest, tables
from diva.store.columns import further
from diva.text.labels import plain_text
from diva.text.targets import delivered, is_number
from diva.text.votes import with_labels
from diva.text.words import few_of
from diva.vision.formats import SUFFIXES

COLUMNS = ("path", "label")
NO_CELLS = f"{tables.SEPARATORS} "  # of which a line without cells is made
PROBES = 16  # files of a list that are looked for elsewhere
TEXTS = (".csv", ".tsv", ".txt")
WINDOWS = re.compile(r"(file:///?)?([A-Za-z]:[\\/]|\\\\)")  # how absolute paths of such a machine begin
FLAGS = {"0", "1", "0.0", "1.0", "True", "False"}
NO_TABLES = {
    "version https://git-lfs": "a pointer of git LFS; fetch the file: git lfs pull",
    "<": "a page or XML; fetch the file itself, or save the table as .csv",
    "{": "JSON; write its rows as .csv: path,label",
    "[": "JSON; write its rows as .csv: path,label",
    "%pdf": "a PDF; save the table as .csv",
    "{\\rtf": "a text with layout; save it as plain text",
}  # how files begin that are none
PARTS = {"split", "subset", "fold", "partition", "set", "is_train", "is_valid", "is_test", "train_test", "usage"}
ADDRESS = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]*://")
TOGETHER = re.compile(r"(patient|subject|person|video|clip|session|scene|case|study)(_?(id|name|nr|no|number))?")
LIKELY = {
    "path": (
        "image",
        "image_path",
        "img",
        "img_path",
        "image_file",
        "image_name",
        "file",
        "file_name",
        "filename",
        "filepath",
        "file_path",
        "photo",
        "uri",
    ),
    "label": (
        "class",
        "class_name",
        "classname",
        "category",
        "category_name",
        "cls",
        "target",
        "label_name",
        "labels",
        "tag",
        "y",
    ),
}  # what others call them


class ListOptions(BaseModel):
    """``columns``: what a list calls its columns path and label, where it does not call them so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[Literal["path", "label"], str] = {}


def images_of(table: Path, columns: Mapping[Any, str] | None = None, unlabelled: bool = False) -> list[Listed]:
    """The files that a list names, in its order; as `rows_of`."""
    return rows_of(table, columns, unlabelled)[0]


def rows_of(
    table: Path, columns: Mapping[Any, str] | None = None, unlabelled: bool = False
) -> tuple[list[Listed], pl.DataFrame]:
    """The files that a list names, in its order, and what it says of them beside path, label and group.

    Args:
        table: the list.
        columns: what it calls its columns path and label.
        unlabelled: whether it need not have labels.

    Raises:
        ValueError: no such columns, or a line that is no row: it is named.
    """
    lines = tables.parse(lambda path: list(rows(path)), table, "list")
    called = dict(columns or {})
    voted = with_labels(lines, called.get("path", "path"), called.get("label", "label"))
    changed, lines = voted is not lines, voted
    header = lines[0][1]
    named = {name: name for name in COLUMNS} | dict(columns or {})
    names = {name: other if other in header else other.lower() for name, other in named.items()}
    bare = unlabelled and "label" not in (columns or {}) and not {"label", *LIKELY["label"]} & set(header)
    wanted = [names["path"]] if bare else list(names.values())
    missing = [name for name in wanted if header.count(name) != 1]
    if missing:
        got = ", ".join(map(str, header)) or "none"
        got += "".join(f"; {name} must be there once" for name in names.values() if header.count(name) > 1)
        offer = _offer(table, header, renamed=bool(columns))
        wanted_all = " and ".join(names.values())
        raise ValueError(f"{table} must have the columns {wanted_all}, got {got}{offer}.")
    path, label = header.index(names["path"]), None if bare else header.index(names["label"])
    group = next((header.index(name) for name in manifest.GROUPS if name in header), None)
    start = _start(table, [str(row[path]) for _, row in lines[1:] if row[path]])
    listed = [
        _entry(table, start, line, *(None if column is None else row[column] for column in (path, label, group)))
        for line, row in lines[1:]
    ]
    used = (*names.values(), *manifest.GROUPS)
    if table.suffix.lower() == ".parquet" and not changed:
        frame = tables.read_parquet(table)
        return listed, further(frame, [own for own, name in zip(frame.columns, header, strict=True) if name in used])
    cells = {name: [row[number] or None for _, row in lines[1:]] for number, name in enumerate(header)}
    return listed, further(pl.DataFrame(cells, schema=dict.fromkeys(cells, pl.String)), used)


def is_list(table: Path, options: Mapping[str, Any]) -> bool:
    """Whether a parquet file lists images; otherwise it holds features."""
    if options.get("columns"):
        return True
    names = set(tables.parse(pl.read_parquet_schema, table, "parquet file"))
    if not {"features", "labels"} <= names:
        names = {name.strip().lower() for name in names}
    return "path" in names and ("label" in names or not {"features", "labels"} <= names)


def likely_columns(header: list[str]) -> dict[str, str]:
    """What a list probably calls its columns path and label; "" where nothing is like them."""
    return {name: next((other for other in (name, *LIKELY[name]) if other in header), "") for name in COLUMNS}


def headers_in(folder: Path) -> dict[Path, list[str]]:
    """The lists right in a folder, and their headers."""
    headers = {}
    for table in sorted(folder.iterdir()) if folder.is_dir() else ():
        if table.is_file() and table.suffix.lower() in (*TEXTS, ".parquet"):
            with suppress(ValueError):
                headers[table] = tables.parse(lambda path: next(rows(path)), table, "list")[1]
    return headers


def lists_in(folder: Path, columns: Mapping[Any, str] | None = None) -> dict[Path, dict[str, str]]:
    """The lists right in a folder that have the columns path and label, and what they call them."""
    headers = headers_in(folder)
    called = {table: likely_columns(header) | dict(columns or {}) for table, header in headers.items()}
    return {table: names for table, names in called.items() if set(names.values()) <= set(headers[table])}


def option_of(names: Mapping[str, str]) -> str:
    """The option that names the columns of a list, where they have other names."""
    others = ",".join(f"{name}={other}" for name, other in names.items() if other != name)
    return others and f" --columns {others}"


def _offer(table: Path, header: list[str], *, renamed: bool) -> str:
    """The option that names the columns, where they are likely to be known by other names."""
    likely = likely_columns(header)
    cells = {name: seen for name, seen in _cells(table).items() if seen}
    flags = [name for name, seen in cells.items() if seen <= FLAGS]
    numbers = [name for name, seen in cells.items() if all(map(is_number, seen)) and name != likely["label"]]
    if not likely["label"] and len(flags) > 1:
        return f"; {few_of(flags)} hold 0 and 1: write the names of those with 1 into one column label, such as cat|dog"
    if "f0" in header or "features" in header:
        return "; features belong into an .npz, .parquet or .h5"
    if not likely["path"] and len(numbers) > 1:
        return "; are these features? Numbers go into an .npz, .parquet or .h5 with features (n, p) and labels"
    if not any(likely.values()) and table.suffix.lower() != ".parquet":
        above = _begun(table)[2].join(COLUMNS)
        return f"; where the first line is a row, write {above} above it; else say --columns path=NAME,label=NAME"
    if list(likely.values()) == list(COLUMNS):
        return "; --columns holds for all lists, so call their columns alike" if renamed else ""
    if not all(likely.values()):
        return "; say which are meant: --columns path=NAME,label=NAME"
    meant = " and ".join(other for name, other in likely.items() if other != name)
    return f"; is {meant} meant? --columns {','.join(f'{name}={other}' for name, other in likely.items())}"


def _cells(table: Path) -> dict[str, set[str]]:
    """The different cells of each column of a list."""
    (_, header), *lines = rows(table)
    return {name: {str(row[number]) for _, row in lines} for number, name in enumerate(header)}


def part_notes(name: str, further: pl.DataFrame | None) -> tuple[str, ...]:
    """A note on a column that says which part of a data set a row is of: all rows are taken."""
    columns = [] if further is None else further.get_columns()
    for column in (each.name for each in columns if TOGETHER.fullmatch(each.name) and each.n_unique() < len(each)):
        way = "if they belong together, call the column group: only then are they left out together"
        return (f"{name}: samples share values of the column {column}; {way}.",)
    for column, values in ((each.name, each) for each in columns):
        parts = sorted(map(str, values.drop_nulls().unique().head(9)))
        if column.lower() in PARTS and len(parts) > 1:
            way = "write a list for each part, for --core, --pool and --test"
            return (f"{name}: all rows are taken, whatever its column {column} says ({few_of(parts)}); {way}.",)
    return ()


def rows(table: Path) -> Iterator[tuple[int, list[Any]]]:
    """The header, then the rows of a list, each with its line."""
    return _parquet_rows(table) if table.suffix.lower() == ".parquet" else _csv_rows(table)


def _parquet_rows(table: Path) -> Iterator[tuple[int, list[Any]]]:
    """The header, its names in lower case where that makes no two alike, then the rows, each with its line."""
    frame = tables.read_parquet(table)
    lower = [name.strip().lower() for name in frame.columns]
    yield 0, [short if lower.count(short) == 1 else name for name, short in zip(frame.columns, lower, strict=True)]
    yield from ((number, list(row)) for number, row in enumerate(frame.iter_rows(), 1))


def _csv_rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """The header, its names in lower case, then the rows, each with its line."""
    text, skipped, separator = _begun(table)
    quote = "'" if text.startswith("'") else '"'
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=True, quotechar=quote)
    header: list[str] = []
    line, following = 0, skipped + 1
    try:
        for row in reader:
            line, following = following, reader.line_num + skipped + 1
            if not any(row):
                continue
            if header and any(cell.strip() for cell in row[len(header) :]):
                raise ValueError(
                    f"line {line}: a row must have {len(header)} cells, as the header has, got {len(row)}; quote cells "
                    "with separators, and leave names of rows out (R: row.names=FALSE)"
                )
            if len(row) < len(header) and _has_blanks(row[0]):
                raise ValueError(
                    f"line {line}: cells must be separated as in the header, by {separator!r}, got {row[0]!r}; write "
                    "the header with blanks, too"
                )
            cells = row + [""] * (len(header) - len(row)) if header else [cell.strip().lower() for cell in row]
            header = header or cells
            yield line, cells
    except csv.Error as error:  # of a row that began after the last one
        raise ValueError(f"line {following}: {error}; quote cells with separators, and double quotes in them") from None


def _begun(table: Path) -> tuple[str, int, str]:
    """The text of a list from its header on, how many lines stand above that, and what separates cells."""
    text = tables.decoded(table, utf_16=True)
    if got := next((kind for start, kind in NO_TABLES.items() if text.lstrip().lower().startswith(start)), ""):
        raise ValueError(f"it must be a table as text, got {got}")
    separator, lines = "", text.split("\n")
    for skipped, line in enumerate(lines):
        first, rest = line.strip(), (other for other in lines[skipped + 1 :] if other.strip(NO_CELLS))
        if "\0" in first:
            raise ValueError("it must be text in UTF-8, got NUL bytes in its first line (UTF-16?); save it as UTF-8")
        if first.lower().startswith("sep="):
            separator = first[4:5]
        elif first.strip(NO_CELLS) and not first.startswith("#") and not _is_title(first, next(rest, "")):
            separator = separator or (" " if _has_blanks(first) else tables.separator(first))
            return "\n".join(lines[skipped:]), skipped, separator
    raise ValueError("it must have the columns path and label, got nothing")


def _is_title(first: str, second: str) -> bool:
    """Whether a spreadsheet's title, or the name of a table, stands above a header."""
    cells = [cell.strip() for cell in re.split(f"[{tables.SEPARATORS}]", first) if cell.strip()]
    several = any(mark in second.strip(tables.SEPARATORS) for mark in tables.SEPARATORS)
    return len(cells) == 1 and several and cells[0].lower() not in (*COLUMNS, *LIKELY["path"])


def _has_blanks(first: str) -> bool:
    """Whether blanks separate the cells of a header, or of a first row, such as ``path label`` or ``1.png cat``."""
    if any(mark in first for mark in tables.SEPARATORS) or len(cells := first.lower().split()) < len(COLUMNS):
        return False
    return all(likely_columns(cells).values()) or cells[0].endswith(SUFFIXES)


def _start(table: Path, names: list[str]) -> tuple[Path, str]:
    """Where the paths of a list start, and what their files end with besides.

    At its folder, or, where it has none of them, at the only folder in it that has the first ones; where one is called
    as the list is, that alone is looked into.
    """
    here = table.parent
    local = [name for name in names if "://" not in name and not Path(name).is_absolute() and not WINDOWS.match(name)]
    if not local or not here.is_dir() or any(_located(here, name).exists() for name in local):
        return here, ""
    few = local[:PROBES]
    folders = [here, *sorted(path for path in here.iterdir() if path.is_dir())]
    endings = ("", *SUFFIXES) if not any(name.lower().endswith(SUFFIXES) for name in few) else ("",)
    folders = [here / table.stem] if (here / table.stem).is_dir() else folders
    whole = [
        (folder, ending)
        for folder in folders
        for ending in endings
        if all(_located(folder, f"{name}{ending}").is_file() for name in few)
    ]
    return whole[0] if len(whole) == 1 else (here, "")


def _entry(table: Path, start: tuple[Path, str], line: int, path: Any, label: Any, group: Any) -> Listed:
    name = "" if path is None else str(path)
    if not name.strip():
        fault = Fault(f"no path: line {line} of {table.name}", "Give it a path, or take the line out.")
        return Listed(table, f"{table.name}#{line}", delivered(label), fault)
    if ADDRESS.match(name):
        fault = Fault("address on the network: a list names files", "Fetch the image, and give its path.")
        return Listed(table, name, delivered(label), fault)
    if WINDOWS.match(name.strip()) and not _located(table.parent, name).exists():
        remedy = "Write paths from the list's folder on, or as they are on this machine."
        return Listed(Path(name), name, delivered(label), Fault("path of a Windows machine", remedy))
    return Listed(_located(start[0], f"{name}{start[1]}"), name, delivered(label), group=plain_text(group))


def _located(folder: Path, name: str) -> Path:
    """The file that a list names: as a path, as a file:// URL, or with the separators of Windows."""
    if name.startswith("file://"):
        name = unquote(urlsplit(name).path)
    path = Path(os.path.normpath(folder / name))
    if name != name.strip() and not path.exists():
        return _located(folder, name.strip())
    if "\\" in name and not path.exists():
        return Path(os.path.normpath(folder / name.replace("\\", "/")))
    if "%" in name and not path.exists():  # as addresses write it
        decoded = Path(os.path.normpath(folder / unquote(name)))
        return decoded if decoded.exists() else path
    return path
