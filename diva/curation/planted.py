"""How the pipeline did on planted mistakes, where the truth is known; only evaluate and report read it."""

from typing import Any

import polars as pl

from diva.store.curated import called_wrong


def judge(state: pl.DataFrame, truth: pl.DataFrame) -> dict[str, Any]:
    """Precision and recall of the labels called wrong, and wrong ones per round."""
    if truth.is_empty():
        return {"known": False}
    judged = state.join(truth, on="sample_id", how="inner", maintain_order="left").with_columns(
        wrong=pl.col("given_label") != pl.col("true_label"), called=called_wrong()
    )
    added = judged.filter(pl.col("origin") == "pool")
    by_round = added.group_by("round").agg(added=pl.len(), wrong=pl.col("wrong").sum()).sort("round")
    core = judged.filter(pl.col("origin") == "core")
    return {"known": True, **agreement(judged), "core": agreement(core), "rounds": by_round.to_dicts()}


def agreement(judged: pl.DataFrame) -> dict[str, float | int | None]:
    """Called wrong, planted wrong, both; precision and recall, None where undefined."""
    called, wrong = int(judged["called"].sum()), int(judged["wrong"].sum())
    hit = int((judged["called"] & judged["wrong"]).sum())
    precision, recall = (hit / called if called else None), (hit / wrong if wrong else None)
    return {"flagged": called, "wrong": wrong, "hit": hit, "precision": precision, "recall": recall}
