"""What a run shows in Prefect: a table, a summary and the report of each round; progress where work takes long."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.assets import Asset
from prefect.context import TaskRunContext
from prefect.events import emit_event

from diva.ingest import annotations
from diva.report import slice_tables
from diva.store import curated, evaluation, ledger, paths
from diva.store.ledger import Ledger
from diva.text.harmless import markdown
from diva.versions import labelling
from diva.versions.published import VersionNumber
from flows import work

logger = logging.getLogger(__name__)
STAGE = re.compile(r"^Running stage '([a-z]+)(?:@([^']+))?'")
SHARE = re.compile(r"^(\d+) of (\d+) images")
PUBLISHED = "diva.version.published"  # an event: what an automation that starts a training waits for
SLOW = {"extract": "Extraction of {}", "score": "Scoring of the core by {}", "extend": "Scoring of the pool in {}"}


class Progress:
    """Follows DVC's log: a progress artifact per stage that extracts or scores."""

    def __init__(self) -> None:
        self._shown: Any = None  # id of the artifact of the stage at work

    def follow(self, line: str) -> None:
        """Take a line of the log into account; what cannot be shown stops nothing."""
        if TaskRunContext.get() is None:  # nobody looks
            return
        try:
            self._follow(line)
        except Exception as error:  # the server's, the network's
            logger.warning("No progress is shown: %s", error)
            self._shown = None

    def _follow(self, line: str) -> None:
        stage, share = STAGE.match(line), SHARE.match(line)
        if (stage or line.startswith("Updating lock file")) and self._shown:
            self._update(100.0)
            self._shown = None
        if stage and stage[1] in SLOW:
            name = stage[2] or stage[1]
            self._shown = create_progress_artifact(
                progress=0.0, key=key(stage[1], name), description=SLOW[stage[1]].format(name)
            )
        if share and self._shown:
            self._update(100 * int(share[1]) / max(int(share[2]), 1))

    def _update(self, percent: float) -> None:
        update_progress_artifact(artifact_id=self._shown, progress=percent)


def key(*words: str) -> str:
    """A key as Prefect wants it: small letters, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def show_round(book: Ledger, name: str, version: VersionNumber) -> None:
    """Artifacts of a published round."""
    label = version.tag.partition("@")[2]
    state = curated.read(name)
    create_table_artifact(key=key(name, "classes"), table=classes(state, name), description=f"{label}, by class")
    create_markdown_artifact(key=key(name, "summary"), markdown=summary(book, name, label), description=label)
    if alerts := slice_tables.alerts(evaluation.stored("deliveries")):
        create_markdown_artifact(key="alerts", markdown=listed(alerts), description=f"{label}: deliveries to look at")
    if paths.REPORT.is_file():
        link = paths.REPORT.absolute().as_uri()
        create_link_artifact(
            key=key(name, "report"), link=link, link_text=f"Report, {label}", description=where(version.tag)
        )


def lineage(book: Ledger, name: str) -> list[str | Asset]:
    """Assets that a round's set rests on: core, and what was delivered to the pool until then."""
    last = ledger.number(book.rounds[name].pool)
    drawn_from = [batch for batch in ledger.chain(book.pool, "pool") if ledger.number(batch) <= last]
    return [asset(f"deliveries/{batch}") for batch in ("core", *drawn_from)]


def asset(name: str = "curated") -> str:
    """Key of an asset of this project, which may share the server with others."""
    return f"diva://{quote(Path.cwd().name)}/{name}"


def announce(book: Ledger, name: str, version: VersionNumber) -> None:
    """An event of a published version, with what a training needs to fetch it."""
    resource = {"prefect.resource.id": f"diva.version.{version.tag}", "prefect.resource.name": version.tag}
    content = {
        "round": name,
        "deliveries": new_batches(book, name),
        "set": paths.TRAIN.as_posix(),
        "folder": str(Path.cwd()),
        "fetch": f"dvc get {Path.cwd()} {paths.TRAIN.as_posix()} --rev {version.tag}",
    }
    emit_event(PUBLISHED, resource, payload=content)


def where(tag: str) -> str:
    """How to see the report where a browser opens no file from a page, and once a later round has replaced it."""
    report = paths.REPORT.parent.as_posix()
    return f"`diva review --serve` shows it here; later: `dvc get . {report} --rev {tag}`."


def classes(state: pl.DataFrame, name: str) -> list[dict[str, Any]]:
    """What a round added and removed, and what there is now, by class as given; Prefect reads cells as Markdown."""
    added, member = pl.col("round") == name, pl.col("status") == "member"
    counts = state.group_by(pl.col("given_label").alias("class")).agg(
        added=(added & (pl.col("origin") == "pool")).sum(),
        removed=(~member & (pl.col("changed_in") == name)).sum(),
        relabelled=(member & (pl.col("changed_in") == name) & (pl.col("label") != pl.col("given_label"))).sum(),
        members=member.sum(),
    )
    return [row | {"class": markdown(row["class"])} for row in counts.sort("class").to_dicts()]


def summary(book: Ledger, name: str, label: str) -> str:
    """A page about a round."""
    entry, figures = book.rounds[name], work.metrics("rounds", name) or {}
    lines = [
        f"# Round {name}: {label}",
        "",
        f"- **{figures.get('added', 0)} added** of {figures.get('candidates', 0)} candidates, "
        + ", ".join(f"{figures.get(change, 0)} {change}" for change in ("removed", "relabelled", "flagged")),
        f"- {errors(work.metrics('', 'evaluate') or {}, name)}",
        f"- pool {entry.pool}, review {entry.review}, code {entry.commit[:12]}",
        f"- {'more candidates are left' if figures.get('stop') == 'none' else figures.get('stop', 'unknown')}",
        *(f"- {batch}: {labelled(book, batch)}{extracted(batch)}" for batch in new_batches(book, name)),
        *asked(),
    ]
    return "\n".join(lines) + "\n"


def errors(evaluate: Mapping[str, Any], name: str) -> str:
    """The test error after a round, and its change since the round before."""
    rows = evaluate.get("rounds", [])
    position = next((i for i, row in enumerate(rows) if row["round"] == name), None)
    if not position:
        return "test error: unknown"
    now, before = rows[position]["error"], rows[position - 1]["error"]
    caveat = evaluate.get("test", {}).get("caveat", "")
    change = f"{100 * (now - before):+.2f} points; before {before:.2%}; core {rows[0]['error']:.2%}"
    text = f"test error **{now:.2%}** ({change})"
    return f"{text}. {caveat}" if caveat else text


def new_batches(book: Ledger, name: str) -> list[str]:
    """Batches that the round before did not draw from."""
    before = book.rounds.get(book.rounds[name].previous)
    since = ledger.number(before.pool if before else ledger.origin(book, "pool"))
    return [link for link in ledger.chain(book.pool, "pool") if ledger.number(link) > since]


def labelled(book: Ledger, batch: str) -> str:
    """What came of the labels that people gave, where a batch brought such."""
    record = Path(book.batches[batch].source)
    return f"{labelling.described(annotations.stored(record))}; " if annotations.is_record(record) else ""


def asked() -> list[str]:
    """What waits for labels, and how many of it are asked for next."""
    counted = [work.metrics("suggest", file.stem) or {} for file in sorted(paths.SUGGESTED.glob("*.parquet"))]
    return [
        f"- {figures['waiting']} samples wait for a label, {figures['suggested']} are asked for, by {figures['rule']}"
        for figures in counted
        if figures.get("suggested")
    ]


def extracted(batch: str) -> str:
    """What extraction and the pool counted of a batch."""
    images, pool = work.metrics("extract", batch) or {}, work.metrics("pool", batch) or {}
    reasons = ", ".join(f"{count} {markdown(reason)}" for reason, count in pool.get("reasons", {}).items())
    admitted = f"{images.get('extracted', 0)} extracted, {pool.get('admitted', 0)} admitted to the pool"
    return f"{admitted}, {pool.get('quarantined', 0)} set aside ({reasons})" if reasons else admitted


def show_deliveries(outcomes: list[str]) -> None:
    """What became of tonight's deliveries."""
    if outcomes:
        create_markdown_artifact(key="deliveries", markdown=listed(outcomes))


def listed(lines: list[str]) -> str:
    """A list in Markdown; what is from outside in its lines is text."""
    return "\n".join(f"- {markdown(line)}" for line in lines)
