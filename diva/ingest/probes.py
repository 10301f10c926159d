"""A few files of a source, opened before anything runs, and what its list contradicts itself in."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from diva.ingest import images
from diva.ingest.images import Fault, Listed
from diva.text.words import few_of
from diva.vision.formats import SUFFIXES

ROWS = 4096  # of ready features that are looked at
DOMINANT = 0.99  # share of the squares in one column, from which others hardly count once rows have length 1
PROBES = 16  # files of a source that are opened


def probe(name: str, usable: Sequence[Listed], is_list: bool) -> tuple[str, ...]:
    """Open a few of the files; ValueError where none is an image."""
    few = _drawn(usable)
    with images.size_limit(images.MAX_PIXELS):
        seen = [(entry, images.header(entry.path)) for entry in few]
    bad = [(entry, fault) for entry, fault in seen if isinstance(fault, Fault)]
    if not bad:
        return ()
    entry, fault = bad[0]
    folder = f" Relative paths start at the list's folder, {Path(name).parent}." if is_list else ""
    if is_list and fault.reason == "missing file":
        folder += _likely_place(entry.name, entry.path, Path(name))
    if is_list and str(entry.label).lower().endswith(SUFFIXES):
        folder += f" The label {entry.label} looks like a path: are the columns exchanged?"
    said = f"{entry.path}: {fault.reason}. {fault.remedy}{folder}"
    if len(bad) == len(few) == len(usable) or len(bad) == PROBES:
        if (
            is_list
            and name.lower().endswith(".parquet")
            and {"features", "labels"} <= set(pl.read_parquet_schema(name))
        ):
            said += " It holds features, too: to use these, take its column path out."
        raise ValueError(f"{name} must name images, got none in {len(few)} that were opened; the first: {said}")
    return (f"{name}: {len(bad)} of {len(few)} files that were opened cannot be used; the first: {said}",)


def _likely_place(name: str, path: Path, table: Path) -> str:
    """Where a missing file of a list probably lies, in words: below the list's folder, or under another ending."""
    steps = [step for step in re.split(r"[\\/]", name) if step]
    for count in range(1, len(steps)):
        if (below := Path(*steps[count:])) and (table.parent / below).is_file():
            return f" {below.as_posix()} is there: write paths from the list's folder on."
    alike = path.stem.casefold()
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    other = next((entry.name for entry in sorted(beside) if entry.stem.casefold() == alike), "")
    return f" Is {other} meant, which lies beside it?" if other else ""


def probe_rows(name: str, features: Any) -> tuple[str, ...]:
    """What is odd about the first rows of ready features (n, p); ValueError where none of them can be used."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.asarray(features[:ROWS], dtype=np.float32)
    sound = np.isfinite(rows)
    bad = np.flatnonzero(~sound.all(1))
    if len(bad):
        row, column = int(bad[0]), int(np.flatnonzero(~sound[bad[0]])[0])
        said = f"NaN, infinity or more than single precision holds, such as {features[row : row + 1][0][column]} in row"
        said = f"{name}: {len(bad)} of {len(rows)} rows hold {said} {row}, column {column}"
        if len(bad) == len(rows):
            raise ValueError(f"{said}; fill such cells in, scale them, or leave the column out.")
        return (f"{said}: they will be set aside.",)
    if len(rows) > 1 and (rows == rows[0]).all():
        return (f"{name}: its first {len(rows)} rows are all the same, which tells no class from another.",)
    shares = np.square(rows, dtype=np.float64).sum(0)
    largest, whole = int(shares.argmax()), shares.sum()
    if len(shares) > 1 and shares[largest] > DOMINANT * whole:
        said = f"column {largest} makes up {shares[largest] / whole:.1%} of what rows are long"
        return (f"{name}: {said}, and hides the others; fit.normalize: standardize in params.yaml lets all count.",)
    return ()


def _drawn(usable: Sequence[Listed]) -> list[Listed]:
    """At random, the same each time, and of each suffix in turn: phones and exports put a file beside each image."""
    shuffled = random.Random(0).sample(range(len(usable)), len(usable))  # noqa: S311 - no secret
    turns, order = Counter[str](), list[tuple[int, int]]()
    for number, position in enumerate(shuffled):
        suffix = Path(usable[position].path).suffix.lower()
        order.append((turns[suffix], number))
        turns[suffix] += 1
    chosen = sorted(shuffled[number] for _, number in sorted(order)[:PROBES])
    return [usable[position] for position in chosen]


def contrary(name: str, usable: Sequence[Listed]) -> tuple[str, ...]:
    """A note on files that a list names several times, with different labels."""
    labels: dict[Path, set[str]] = {}
    for entry in usable:
        labels.setdefault(entry.path, set()).update([entry.label] if entry.label else ())
    several = [(path, said) for path, said in labels.items() if len(said) > 1]
    if not several:
        return ()
    said = f"{len(several)} of {len(labels)} files stand there with several labels, such as {several[0][0]}"
    way = "where several people labelled, name them in a column annotator, else keep the right row"
    return (f"{name}: {said} ({few_of(sorted(several[0][1]))}): they will be set aside; {way}.",)
