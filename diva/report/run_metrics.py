"""What the stages of the last run wrote, read once for summary and page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from diva.report import aside
from diva.store import evaluation, ledger, manifest, paths, tables
from diva.store.features import FeatureFile
from diva.versions import reviews


@dataclass(frozen=True)
class RunMetrics:
    """What the stages of the last run wrote.

    Attributes:
        evaluate: data/metrics/evaluate.json.
        release: data/release/summary.json.
        fit: data/metrics/fit.json.
        rounds: data/metrics/rounds/<round>.json by round.
        network: attributes of the core's features; empty where they are not here.
        scores: data/metrics/scores/<method>.json, by method.
        remaining: samples that the pool still holds, by the reason why.
        aside: samples set aside, by kind.
        straddling: groups that the test set shares, and how many samples of core and pool were set aside for it.
        tables: of the evaluation: audit, slices, pairs, deliveries.
        history: what each version of people's decisions brought (see `diva.versions.reviews.history`).
        behind: whether a delivery joined the pool that no round has drawn from.
    """

    evaluate: Mapping[str, Any]
    release: Mapping[str, Any]
    fit: Mapping[str, Any]
    rounds: Mapping[str, Mapping[str, Any]]
    network: Mapping[str, Any]
    scores: Sequence[Mapping[str, Any]]
    remaining: Mapping[str, int] = field(default_factory=dict)
    aside: Mapping[str, int] = field(default_factory=dict)
    straddling: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    history: pl.DataFrame = field(default_factory=lambda: tables.empty(reviews.HISTORY))
    behind: bool = False

    @property
    def used(self) -> str:
        """Name of the training set that the release is."""
        former = evaluation.release_set({"weighted": self.release["weights"]["kept"]})
        return str(self.evaluate.get("release", former))

    @property
    def best(self) -> str:
        """Name of the training set of the lowest error; the release itself where it ties."""
        sets: Mapping[str, Any] = self.evaluate["sets"]
        return min(sets, key=lambda name: (sets[name]["error"], name != self.used))

    @property
    def trained(self) -> bool:
        """Whether features came from a trained network, or were delivered ready."""
        return not self.network or self.network["backbone"] == "ready" or self.network["weights"] != "none"


def read() -> RunMetrics:
    """The last run; ValueError where there was none, or one of its files is damaged."""
    evaluate = tables.read_json(paths.metrics("evaluate"))
    metrics = {entry["round"]: paths.METRICS / "rounds" / f"{entry['round']}.json" for entry in evaluate["rounds"]}
    core, book = paths.features("core"), ledger.read() if paths.LEDGER.is_file() else None
    quarantine = aside.read(book) if book else {}
    return RunMetrics(
        evaluate=evaluate,
        release=tables.read_json(paths.SUMMARY),
        fit=tables.read_json(paths.metrics("fit")),
        rounds={name: tables.read_json(path) for name, path in metrics.items() if path.is_file()},
        network=FeatureFile(core).attributes if core.is_file() else {},
        scores=[tables.read_json(path) for path in sorted((paths.METRICS / "scores").glob("*.json"))],
        remaining=_reasons() + _waiting(book),
        aside=_aside(quarantine),
        straddling=aside.straddling(quarantine),
        tables={name: evaluation.stored(name) for name in ("audit", "slices", "pairs", "deliveries")},
        history=reviews.history(book) if book else tables.empty(reviews.HISTORY),
        behind=book is not None and _behind(book),
    )


def _behind(book: ledger.Ledger) -> bool:
    return book.latest in book.rounds and book.rounds[book.latest].pool != ledger.newest_pool(book)


def _reasons() -> Counter[str]:
    return Counter(evaluation.read("left")["reason"] if paths.evaluation("left").is_file() else ())


def _waiting(book: ledger.Ledger | None) -> Counter[str]:
    """Samples of the pool without a label."""
    path = paths.METRICS / "pool" / f"{ledger.newest_pool(book)}.json" if book else Path()
    return Counter({evaluation.UNLABELLED: tables.read_json(path).get("unlabelled", 0)} if path.is_file() else {})


def _aside(quarantine: aside.Quarantine) -> Counter[str]:
    return sum((Counter(manifest.kinds(refused)) for refused in quarantine.values()), Counter[str]())
