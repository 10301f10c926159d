"""What was set aside: counts by kind, what to do about each, and the copies whose labels disagree."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from diva.store import ledger, manifest, paths, tables

Quarantine = Mapping[tuple[str, str], pl.DataFrame]
KIND = pl.col("reason").str.split(":").list.first()
COPIES = (
    "same content", "same content under another label", "same sample_id", "same sample_id under another label",
    "near duplicate", "already delivered",
)  # fmt: skip
STAGES = ("download", "extract", "pool", "fit")  # that set samples aside
SHARED = "group of the test set"  # why a sample never trains
MOST = 60  # copies shown one by one, those under other labels first


class Aside(NamedTuple):
    """A kind of sample set aside, with the remedy of the first one."""

    batch: str
    stage: str
    kind: str
    samples: int
    example: str
    remedy: str


class Copy(NamedTuple):
    """A sample set aside because another is the same, or nearly: labels and paths of both, rows in the gallery."""

    kind: str
    label: str
    path: str
    of_label: str
    of_path: str
    row: int
    conflict: bool


def read(book: ledger.Ledger) -> dict[tuple[str, str], pl.DataFrame]:
    """What stages set aside, of every batch of the ledger."""
    keys = [(stage, batch) for stage in STAGES for batch in ledger.order(book)]
    files = {key: paths.quarantine(*key) for key in keys}
    return {key: tables.read(path, manifest.QUARANTINE) for key, path in files.items() if path.is_file()}


def kinds(quarantine: Quarantine) -> tuple[Aside, ...]:
    """In the order of stages and batches."""
    groups = []
    for (stage, batch), refused in quarantine.items():
        for kind, amount in manifest.kinds(refused).items():
            first = refused.filter(kind == KIND).row(0, named=True)
            groups.append(Aside(batch, stage, kind, amount, first["path"], first["remedy"]))
    return tuple(groups)


def straddling(quarantine: Quarantine) -> dict[str, int]:
    """Groups that the test set shares with core or pool, and how many samples of these were set aside for it."""
    refused = [frame.filter(KIND == SHARED).select("reason") for frame in quarantine.values()]
    names = [reason.removeprefix(f"{SHARED}: ") for frame in refused for reason in frame["reason"]]
    return dict(sorted(Counter(names).items(), key=lambda group: (-group[1], group[0])))


def counts(groups: tuple[Aside, ...]) -> dict[str, dict[str, int]]:
    """How many of each kind, by batch."""
    table: dict[str, dict[str, int]] = {}
    for group in groups:
        row = table.setdefault(group.kind, {})
        row[group.batch] = row.get(group.batch, 0) + group.samples
    return table


def copies(quarantine: Quarantine, samples: pl.DataFrame, most: int = MOST) -> tuple[Copy, ...]:
    """Duplicates and near-duplicates, those whose labels conflict first."""
    rows = {row["sample_id"]: row for row in samples.with_row_index("number").iter_rows(named=True)}
    listed = []
    for refused in quarantine.values():
        for row in refused.filter(KIND.is_in(COPIES)).iter_rows(named=True):
            original = rows.get(_original(row["reason"]) or row["sample_id"])
            label, of_label = row["label"] or "", original["given_label"] if original else ""
            conflict = " under another label: " in row["reason"] or (original is not None and label != of_label)
            path, number = (
                (original["path"], original["number"]) if original else (row["reason"].partition(": ")[2], -1)
            )
            listed.append(Copy(row["reason"].split(":")[0], label, row["path"], of_label, path, number, conflict))
    return tuple(sorted(listed, key=lambda copy: not copy.conflict)[:most])


def _original(reason: str) -> str | None:
    """The id that a near-duplicate's reason names; a true copy bears the id of its original itself."""
    named = re.match(r"near duplicate: of (\S+) in ", reason)
    return named[1] if named else None
