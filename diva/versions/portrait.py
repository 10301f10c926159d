"""One version, and what changed between two, as facts and tables of text; the command only draws them."""

import json
from typing import Any

import polars as pl
import yaml

from diva.store import ledger, paths, release, tables
from diva.store.features import FeatureFile
from diva.text.words import NOTHING, Column, Row, Table, amount, count, number, percent, with_interval
from diva.versions import contents, difference
from diva.versions.published import Version

BAR = 30  # columns of the longest bar
Facts = list[tuple[str, str]]


def shown(version: Version) -> tuple[Facts, list[Table]]:
    """One version: what it holds, class by class, and where it came from."""
    train = tables.read(contents.fetch(version, paths.TRAIN), release.TRAIN)
    summary = tables.read_json(contents.fetch(version, paths.SUMMARY))
    book = ledger.validated(yaml.safe_load(contents.git_text(version, paths.LEDGER)), f"{version.name}:{paths.LEDGER}")
    figures = {"error": version.error, "low": version.low, "high": version.high}
    made = f"{amount(summary['members'], 'sample')}: core {count(summary['core'])}, added {count(summary['added'])}"
    changed = ", ".join(f"{name} {count(summary[name])}" for name in ("removed", "relabelled", "flagged"))
    facts = [
        ("version", f"{version.name}, {version.date[:16].replace('T', ' ')}, commit {version.commit[:12]}"),
        ("release", made),
        ("changed", changed),
        ("weights", _weights(train, summary["weights"])),
        ("test error", f"{with_interval(figures)} %" if version.error is not None else NOTHING),
        *((("judged", "by the ridge head alone: another round followed in its night"),) if version.interim else ()),
        *provenance(version, book),
    ]
    return facts, [balance(train)]


def _weights(train: pl.DataFrame, metadata: dict[str, Any]) -> str:
    use = "kept" if metadata["kept"] else "not kept"
    spread = [train["weight"].quantile(q, "linear") for q in (0, 0.25, 0.5, 0.75, 1)]
    shape = f"; least {number(spread[0])}, quartiles {', '.join(map(number, spread[1:4]))}, most {number(spread[4])}"
    return f"{use}: {metadata['reason']}{shape if metadata['kept'] else ''}"


def balance(train: pl.DataFrame) -> Table:
    """Samples and weight of each class, with a bar."""
    columns = [Column("class", number=False), Column("samples"), Column("", number=False)]
    columns += [Column("flagged", wide=True), Column("added"), Column("mean weight", wide=True)]
    added, weight = (pl.col("origin") == "pool").sum(), pl.col("weight").mean()
    by_class = train.group_by("label").agg(n=pl.len(), flagged=pl.col("flagged").sum(), added=added, weight=weight)
    most = max(by_class["n"].to_list(), default=1)
    rows = (
        Row((label, count(n), "█" * max(1, round(BAR * n / most)), count(flagged), count(added), number(weight)))
        for label, n, flagged, added, weight in by_class.sort("label").iter_rows()
    )
    return Table("Class balance of the release", tuple(columns), tuple(rows))


def provenance(version: Version, book: ledger.Ledger) -> Facts:
    """Data, network, settings and code of a version."""
    earlier = {name: entry for base in book.base.values() for name, entry in base.batches.items()}
    batches = earlier | {name: book.batches[name] for name in ledger.order(book)}
    facts = [(f"batch {name}", _batch(batch)) for name, batch in batches.items()]
    facts += _network(version)
    if book.rounds:
        newest = book.rounds[book.latest]
        settings = (f"{key} {json.dumps(value)}" for part in newest.settings.values() for key, value in part.items())
        facts.append((f"settings of {book.latest}", ", ".join(settings)))
        facts += [("reviews", newest.review), ("code", newest.commit)]
    return facts


def _batch(batch: ledger.Batch) -> str:
    return "; ".join(_delivery(entry) for entry in batch.deliveries)


def _delivery(entry: ledger.Batch) -> str:
    options = "".join(f", {name} {value}" for name, value in entry.options.items())
    return f"{entry.source}{options}; {entry.checksum}"


def _network(version: Version) -> Facts:
    """What made the features: told by the file of the core's, or by params.yaml where that file is not here."""
    names = {"backbone": "backbone", "weights": "weights file", "weights_sha256": "its sha256"}
    stored = contents.local(version, paths.features("core"))
    if stored:
        metadata: dict[str, Any] = FeatureFile(stored).attributes
    else:
        metadata = yaml.safe_load(contents.git_text(version, paths.PARAMS))["extract"]
    return [(name, str(metadata[key])) for key, name in names.items() if metadata.get(key) not in (None, "")]


def changed(before: Version, after: Version, rows: pl.DataFrame) -> tuple[Facts, list[Table]]:
    """What changed between two versions, by class."""
    by_class = difference.counts(rows)
    totals = difference.totals(by_class)
    facts = [("from", _sized(before)), ("to", _sized(after))]
    if before.error is not None and after.error is not None:
        facts.append(("test error", f"{percent(before.error)} → {percent(after.error)} %"))
    lines = [*by_class.items(), ("all", totals)] if by_class else []
    table = Table(
        "Changes by class" if by_class else "No sample changed",
        (Column("class", number=False), *map(Column, difference.CHANGES)),
        tuple(Row((name, *(count(n) for n in row.values()))) for name, row in lines),
    )
    return facts, [table]


def _sized(version: Version) -> str:
    return f"{version.name}, {amount(version.size or 0, 'sample')}, {version.round}"
