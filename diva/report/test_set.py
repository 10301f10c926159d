"""The test set under the same lamp: what is wrong with it in figures, and the labels that look wrong as a table."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from diva.report.aside import COPIES, Quarantine
from diva.report.names import shown_name
from diva.report.run_metrics import RunMetrics
from diva.store import manifest, paths
from diva.text.words import Column, Row, Table, count, with_interval

MOST_AUDITED = 20  # listed one by one


def faults(run: RunMetrics, quarantine: Quarantine) -> tuple[tuple[str, str], ...]:
    """How much of the test set is wrong in which way; nothing without a test set."""
    if run.evaluate["test"]["kind"] != "test":
        return ()
    refused = [frame for (_, batch), frame in quarantine.items() if batch == "test"]
    kinds = sum((Counter(manifest.kinds(frame)) for frame in refused), Counter[str]())
    copies = {kind: amount for kind, amount in kinds.items() if kind in COPIES}
    contrary = sum(amount for kind, amount in copies.items() if kind.endswith(manifest.CONTRARY))
    amounts = {
        "labels look wrong": run.evaluate.get("audit", {}).get("suspicious", 0),
        "copies, set aside": sum(copies.values()),
        "with another label": contrary,
        "of classes the core lacks": run.evaluate["test"].get("unknown_class", 0),
        "groups that train, too": len(run.straddling),
    }
    return tuple((name, count(amount)) for name, amount in amounts.items())


def doubts(evaluate: Mapping[str, Any]) -> str:
    """How many labels of the test set look wrong, what they cost, and what people say; nothing where none does."""
    audit = evaluate.get("audit", {})
    if not audit.get("suspicious") and not audit.get("by_people"):
        return ""
    said = [f"{count(audit['suspicious'])} of {count(evaluate['test']['samples'])} look wrong"]
    words = {
        "with": "with all labels as given",
        "without": "without these",
        "decided": f"as people decided on {count(audit.get('by_people', 0))} labels",
    }
    errors = [
        f"{with_interval({'error': audit[name]['mean'], **audit[name]})} % {text}"
        for name, text in words.items()
        if name in audit
    ]
    said += [f"ridge head's error {', '.join(errors)}"] if len(errors) > 1 else []
    said += [f"look at them before believing any: {paths.evaluation('audit').as_posix()}"] * bool(audit["suspicious"])
    return "; ".join(said)


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
