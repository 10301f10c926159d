"""Labels of the test set that look wrong, in words and as a table."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from diva.report.names import shown_name
from diva.store import paths
from diva.text.words import Column, Row, Table, count, with_interval

MOST_AUDITED = 20  # listed one by one


def doubts(evaluate: Mapping[str, Any]) -> str:
    """How many labels of the test set look wrong, and what they cost; nothing where none does."""
    audit = evaluate.get("audit", {})
    if not audit.get("suspicious"):
        return ""
    figures = {
        name: with_interval({"error": each["mean"], **each})
        for name, each in audit.items()
        if name in ("with", "without")
    }
    errors = (
        f"; ridge head's error {figures['with']} % with them, {figures['without']} % without"
        if "without" in figures
        else ""
    )
    return (
        f"{count(audit['suspicious'])} of {count(evaluate['test']['samples'])} look wrong{errors}; look at them before "
        f"believing either: {paths.evaluation('audit').as_posix()}"
    )


def audited(suspicious: pl.DataFrame) -> Table:
    """The most suspicious labels of the test set."""
    columns = (
        Column("sample", number=False),
        Column("label", number=False),
        Column("suggested", number=False),
        Column("score"),
    )
    listed = suspicious.head(MOST_AUDITED).select(shown_name(), "label", "suggested_label", "score")
    rows = tuple(Row((name, label, suggested, f"{score:.3f}")) for name, label, suggested, score in listed.iter_rows())
    more = len(suspicious) - len(rows)
    notes = (f"{count(more)} more: {paths.evaluation('audit').as_posix()}",) if more else ()
    return Table(
        "Labels of the test set that look wrong, by the head that never saw them; nothing of this trains",
        columns,
        rows,
        notes,
    )
