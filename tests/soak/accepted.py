"""What the curated set must be, from the accepted batches alone: numpy and hashlib, nothing of the project's.

Every finite row of the core's classes that is new, in the order of delivery, none of the test set's; what people took
down is removed, what they relabelled has their label.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Row = tuple[str, str, str]  # label, batch, member or removed


def rows(path: Path) -> list[tuple[str, str, bool]]:
    """Name (the hash of its bytes), label, and whether it is finite, of each row of a pack, each content once."""
    with np.load(path, allow_pickle=False) as file:
        features, labels = file["features"], file["labels"]
    found: dict[str, tuple[str, str, bool]] = {}
    for row, label in zip(features, labels, strict=True):
        name = hashlib.sha256(row.tobytes()).hexdigest()[:32]
        found.setdefault(name, (name, str(label), bool(np.isfinite(row).all())))
    return list(found.values())


def expected(
    core: Path, test: Path, batches: Sequence[Path], gone: Sequence[str], relabelled: Mapping[str, str]
) -> dict[str, Row]:
    """The curated set by sample.

    Args:
        core: pack of the core.
        test: pack of the test set.
        batches: packs of the pool, in the order in which they were accepted.
        gone: samples that people took down.
        relabelled: labels that people gave.
    """
    tested = {name for name, _, _ in rows(test)}
    found = {name: (label, "core", "member") for name, label, _ in rows(core) if name not in tested}
    classes = {label for label, _, _ in found.values()}
    for number, batch in enumerate(batches, 1):
        for name, label, finite in rows(batch):
            if finite and name not in tested and name not in found and label in classes:
                found[name] = (label, f"b{number:03d}", "member")
    for name, label in relabelled.items():
        found[name] = (label, found[name][1], "member")
    for name in gone:
        found[name] = (found[name][0], found[name][1], "removed")
    return found
