"""The gallery's data: every sample as columns, evidence by sample, and which thumbnails come first."""

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from diva.curation import slices
from diva.curation.shares import Numbers
from diva.report import assets
from diva.report.evidence import Evidence
from diva.store import tables
from diva.store.decisions import SCHEMA

DELIVERY = "delivery"
MOST_COLUMNS = 24  # further ones that filter and colour
STATUS = ("member", "removed", "left", "test")
EXTREMES = 4  # most up- and most down-weighted samples shown of each class
STRIP = 24  # additions shown of each round, samples shown of each reason to be left
Content = dict[str, Any]


def first(frame: pl.DataFrame, evidence: Mapping[str, Evidence], calls: int) -> list[int]:
    """Rows in the order in which they get a thumbnail: calls with their evidence, extremes of weight, then the rest."""
    row_of = {name: row for row, name in enumerate(frame["sample_id"])}
    strongest = [row for which in (pl.col("called"), pl.col("status") == "test") for row in ranked(frame, which, calls)]
    neighbours = (
        row_of[other.sample_id]
        for row in strongest
        for side in evidence.get(frame["sample_id"][row], Evidence((), ()))
        for other in side
        if other.sample_id in row_of
    )
    rest = ranked(frame, pl.col("called"), len(frame))
    return list(dict.fromkeys([*strongest, *neighbours, *extremes(frame), *strips(frame), *rest, *range(len(frame))]))


def ranked(frame: pl.DataFrame, which: pl.Expr, most: int) -> list[int]:
    """Rows of the highest scores."""
    numbered = frame.with_row_index("number").filter(which)
    return (
        numbered.sort(["score", "sample_id"], descending=[True, False], nulls_last=True).head(most)["number"].to_list()
    )


def extremes(frame: pl.DataFrame, most: int = EXTREMES) -> list[int]:
    """Rows of the largest and of the smallest weights of each class."""
    weighed = frame.with_row_index("number").filter(pl.col("weight").is_not_null())
    ends = []
    for descending in (True, False):
        order = weighed.sort("weight", "sample_id", descending=[descending, False], maintain_order=True)
        ends.append(order.group_by("label", maintain_order=True).head(most).sort("label", maintain_order=True))
    return pl.concat(ends)["number"].to_list()


def strips(frame: pl.DataFrame, most: int = STRIP) -> list[int]:
    """Rows that rounds added, the most wanted first, and rows left, the strongest reasons first."""
    numbered = frame.with_row_index("number")
    added = numbered.filter((pl.col("origin") == "pool") & (pl.col("status") != "left")).sort("derivative", "sample_id")
    remaining = numbered.filter(pl.col("status") == "left").sort("derivative", "sample_id", descending=[True, False])
    parts = [
        added.group_by("round", maintain_order=True).head(most),
        remaining.group_by("reason", maintain_order=True).head(most),
    ]
    return [row for part in parts for row in part["number"].to_list()]


def content(
    frame: pl.DataFrame,
    evidence: Mapping[str, Evidence],
    methods: Mapping[str, pl.DataFrame],
    review: pl.DataFrame,
    linked: Sequence[bool],
    further: pl.DataFrame,
    points: Numbers,
) -> Content:
    """All that the page's script knows of the samples; labels, batches, rounds and reasons as codes."""
    labels = sorted({*frame["label"], *frame["given_label"], *frame["suggested_label"].drop_nulls()}, key=natural)
    columns: Content = {"labels": labels, "methods": list(methods), "ids": frame["sample_id"].to_list()}
    columns |= {"paths": frame["path"].to_list(), "linked": [int(link) for link in linked]}
    for name, column in {
        "label": "label",
        "given": "given_label",
        "suggested": "suggested_label",
        "true": "true_label",
    }.items():
        columns[name] = codes(frame[column], labels)
    for name in ("batch", "round", "reason", "origin"):
        values = sorted(set(frame[name].drop_nulls()))
        columns |= {f"{name}s": values, name: codes(frame[name], values)}
    columns["status"] = codes(frame["status"], STATUS)
    columns["called"] = [int(value) for value in frame["called"]]
    columns |= {name: figures(frame[name]) for name in ("score", "margin", "derivative", "weight")}
    columns["others"] = {name: other(frame, scores) for name, scores in list(methods.items())[1:]}
    if frame["caption"].count():
        columns["captions"] = frame["caption"].to_list()
    if frame["sound"].count():
        columns["sounds"] = frame["sound"].to_list()
    columns["columns"] = by_column(frame, further)
    columns |= dict(zip("xy", placed(points), strict=True))
    row_of = {name: row for row, name in enumerate(columns["ids"])}
    columns["evidence"] = {
        row_of[name]: neighbour_rows(sides, row_of) for name, sides in evidence.items() if name in row_of
    }
    columns["decided"] = decisions(review, row_of)
    return columns


def by_column(frame: pl.DataFrame, further: pl.DataFrame) -> list[Content]:
    """Columns that filter and colour: their values, and each sample's as a code; numbers by their quartiles."""
    joined = frame.select("sample_id", "batch").join(further, on="sample_id", how="left", maintain_order="left")
    listed = []
    for name in joined.columns[1 : MOST_COLUMNS + 2]:
        texts = slices.cut(joined[name])
        values = texts.drop_nulls().unique(maintain_order=True).to_list()
        if 0 < len(values) <= slices.MOST_VALUES:
            values = sorted(values, key=natural)
            title = DELIVERY if name == "batch" else name
            listed.append({"name": title, "values": values, "codes": codes(texts, values)})
    return listed


def placed(points: Numbers) -> list[list[int]]:
    """Points (n, 2) in thousandths of the core's deviation, x and y."""
    return np.rint(points * 1000).astype(int).T.tolist()  # type: ignore[no-any-return]


def natural(label: str) -> tuple[bool, int, str]:
    """Classes that are numbers in the order of numbers, before all others."""
    return (not label.isdecimal(), int(label) if label.isdecimal() else 0, label)


def codes(values: Iterable[str | None], names: Sequence[str]) -> list[int]:
    """Places among ``names``, −1 where a value is missing or none of them."""
    code = {name: number for number, name in enumerate(names)}
    return [code.get(value, -1) if value is not None else -1 for value in values]


def figures(values: Iterable[float | None]) -> list[float | None]:
    """Four digits of each; None where it is missing or not finite."""
    return [float(f"{value:.4g}") if value is not None and math.isfinite(value) else None for value in values]


def other(frame: pl.DataFrame, scores: pl.DataFrame) -> Content:
    """What another method says of the core: score and call."""
    joined = frame.select("sample_id").join(
        scores.select("sample_id", "score", "flagged"), on="sample_id", how="left", maintain_order="left"
    )
    return {"score": figures(joined["score"]), "called": [int(bool(value)) for value in joined["flagged"]]}


def neighbour_rows(sides: Evidence, row_of: Mapping[str, int]) -> list[list[list[float]]]:
    """Rows and cosines of the neighbours of the given and of the suggested class."""
    return [[[row_of[name], round(cosine, 3)] for name, cosine in side if name in row_of] for side in sides]


def decisions(review: pl.DataFrame, row_of: Mapping[str, int]) -> dict[int, list[str | None]]:
    """People's decisions so far, by row: decision, label, note, who decided."""
    rows = tables.conform(review, SCHEMA, "review").iter_rows()
    return {row_of[name]: decision for name, *decision in rows if name in row_of}


def packed(columns: Content) -> str:
    """JSON, compressed, in base64."""
    text = json.dumps(columns, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return assets.squeezed(text.encode("utf-8", "replace"))


def lines(thumbnails: Mapping[int, bytes]) -> str:
    """A thumbnail a line: row, a space, base64."""
    return "\n".join(f"{row} {base64.b64encode(image).decode('ascii')}" for row, image in thumbnails.items())
