"""What DVC draws and lists, as ``dvc.yaml`` names it: data/metrics/plots/<table>.csv and figures.json."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from diva.report import charts, claims
from diva.report.data import ReportData
from diva.report.run_metrics import RunMetrics
from diva.store import ledger, manifest


def tables(data: ReportData) -> dict[str, pl.DataFrame]:
    """Tables for ``dvc plots``: scores, weights, training sets, rounds, classes, their balance, steps of Reweight."""
    errors = ("error", "low", "high")
    results, rounds = data.run.evaluate["sets"], data.run.evaluate["rounds"]
    sets = [{"set": name, **{key: results[name][key] for key in (*errors, "size")}} for name in claims.order(data.run)]
    flags = data.state.select("sample_id", "flagged")
    weights = data.weights.join(flags, on="sample_id", how="left", maintain_order="left")
    return {
        "scores": histogram(next(iter(data.scores.values())), "score"),
        "weights": histogram(weights.with_columns(pl.col("flagged").fill_null(value=False)), "weight"),
        "sets": pl.DataFrame(sets),
        "rounds": pl.DataFrame(
            [{key: entry.get(key) for key in ("round", "size", *errors)} | uniform(entry) for entry in rounds],
            schema_overrides={"uniform": pl.Float64},
        ),
        "classes": data.classes.select(harmless("label"), "samples", "core", release=data.run.used),
        "balance": balance(data).select(harmless("label"), "core", "release"),
        "steps": data.steps,
    }


def figures(run: RunMetrics) -> dict[str, Any]:
    """The few figures that tell one run from another; DVC takes a key ``error`` for one of its own."""
    sets = {name: run.evaluate["sets"][key] for name, key in (("core", "core"), ("release", run.used))}
    return {
        "samples": run.release.get("samples", run.release["members"]),
        "added": run.release["added"],
        "removed": run.release["removed"],
        "called_wrong": run.release["flagged"],
        "test_error": {name: result["error"] for name, result in sets.items()},
        "all_learners": {name: result["panel"]["mean"]["error"] for name, result in sets.items() if "panel" in result},
    }


def uniform(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """The error of a uniform choice as large as a round's set; both start at the core."""
    return {"uniform": entry["error"] if entry["round"] == ledger.ORIGIN["rounds"] else entry.get("uniform")}


def balance(data: ReportData) -> pl.DataFrame:
    """Samples of each class, by name: of the core as given, and of the release."""
    core = data.state.filter(pl.col("origin") == "core").select(label="given_label")
    counts = [
        manifest.in_classes(frame).group_by("label").agg(pl.len().alias(name))
        for name, frame in (("core", core), ("release", data.train))
    ]
    return counts[0].join(counts[1], on="label", how="full", coalesce=True).fill_null(0).sort("label")


def harmless(column: str) -> pl.Expr:
    """Text that DVC can write into a script of its page as it is."""
    return pl.col(column).str.replace_all("<", "‹", literal=True)


def histogram(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """How many samples, flagged or not, have values around each bin's centre."""
    bins = charts.histogram(frame[column].to_numpy(), frame["flagged"].to_numpy())
    low, width, every, flagged = (np.array(bins[name]) for name in ("low", "width", "all", "marked"))
    return pl.DataFrame({column: (low + width / 2).round(6), "unflagged": every - flagged, "flagged": flagged})
