"""What the report is made from, and the one table of samples that its page shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from diva.report.run_metrics import RunMetrics
from diva.store import ledger, tables
from diva.store.columns import CAPTIONS, SOUND
from diva.store.curated import called_wrong
from diva.store.decisions import FORGOTTEN_ROW

SAMPLES: tables.Schema = {
    "sample_id": pl.String,
    "path": pl.String,
    "batch": pl.String,
    "features": pl.String,
    "row": pl.Int64,
    "label": pl.String,
    "given_label": pl.String,
    "suggested_label": pl.String,
    "true_label": pl.String,  # null where it is not known
    "called": pl.Boolean,  # whether its label was called wrong
    "origin": pl.String,
    "round": pl.String,
    "status": pl.String,  # member, removed, left (in the pool), or test
    "score": pl.Float64,
    "margin": pl.Float64,
    "derivative": pl.Float64,
    "weight": pl.Float64,  # null but for what was weighed
    "reason": pl.String,
    "caption": pl.String,  # what the delivery says of it in words
    "sound": pl.String,  # path of its recording
}
LONGEST = 500  # characters of a caption that the page shows


@dataclass(frozen=True)
class ReportData:
    """What the report is made from.

    Attributes:
        run: metrics, summary of the release, attributes of the features.
        fit: data/fit/fit.json.
        book: the ledger.
        state: the newest curated set.
        before: the set before it; None for the core's own.
        train: the release.
        scores: of the core, by method; the first is the one that calls labels wrong.
        weights: of the newest set.
        truth: planted truth of all batches; empty where none is known.
        quarantine: rows set aside, by stage and batch.
        classes: test errors by class.
        steps: loss and test error by step of Reweight.
        taken: steps that Reweight took.
        remaining: what the pool still holds, and why.
        columns: further columns of samples.
        review: people's newest decisions.
        unreviewed: the sets before people judged, oldest first: what the scores said of each sample.
        captions: sample_id, caption and sound of samples that have one of them.
        doubted: samples of the test set whose labels look wrong, with the schema ``SAMPLES``.
        places: of rows of the core on the map, by UMAP; None for principal components.
    """

    run: RunMetrics
    fit: Mapping[str, Any]
    book: ledger.Ledger
    state: pl.DataFrame
    before: pl.DataFrame | None
    train: pl.DataFrame
    scores: Mapping[str, pl.DataFrame]
    weights: pl.DataFrame
    truth: pl.DataFrame
    quarantine: Mapping[tuple[str, str], pl.DataFrame]
    classes: pl.DataFrame
    steps: pl.DataFrame
    taken: int
    remaining: pl.DataFrame
    columns: pl.DataFrame
    review: pl.DataFrame
    unreviewed: pl.DataFrame
    captions: pl.DataFrame
    doubted: pl.DataFrame
    places: pl.DataFrame | None = None

    @property
    def taken_down(self) -> pl.DataFrame:
        """Samples that the page must not show; they only count."""
        return self.review.filter(FORGOTTEN_ROW).select("sample_id")


def samples(data: ReportData) -> pl.DataFrame:
    """All samples of core and pool: the newest set, then what the pool still holds; with the schema ``SAMPLES``.

    Those that were taken down are left out.
    """
    remaining = data.remaining.with_columns(
        given_label="label",
        origin=pl.lit("pool"),
        round=pl.lit("none"),
        status=pl.lit("left"),
        called=pl.lit(value=False),
    )
    frame = pl.concat([data.state.with_columns(called=called_wrong()), remaining], how="diagonal")
    truth = data.truth.unique("sample_id", keep="first", maintain_order=True)
    weighed = data.weights.select("sample_id", "weight", new_derivative="derivative")
    frame = frame.join(data.taken_down, on="sample_id", how="anti", maintain_order="left")
    joined = frame.join(truth, on="sample_id", how="left", maintain_order="left")
    joined = joined.join(weighed, on="sample_id", how="left", maintain_order="left")
    joined = joined.join(data.captions, on="sample_id", how="left", maintain_order="left")
    newest = joined.with_columns(derivative=pl.coalesce("new_derivative", "derivative"))
    return tables.conform(newest.select(list(SAMPLES)), SAMPLES, "samples")


def of_test(suspicious: pl.DataFrame, test: pl.DataFrame) -> pl.DataFrame:
    """Samples of the test set whose labels look wrong, with the schema ``SAMPLES``.

    Args:
        suspicious: a table of ``evaluation.AUDIT``.
        test: index of the test set.
    """
    placed = suspicious.join(test.select("sample_id", "features", "row"), on="sample_id", maintain_order="left")
    nothing = {name: pl.lit(None, dtype) for name, dtype in SAMPLES.items() if name not in placed.columns}
    said = {"batch": "test", "origin": "never trains", "round": "none", "status": "test"}
    frame = placed.with_columns(**nothing).with_columns(
        given_label="label", called=pl.lit(value=False), **{name: pl.lit(text) for name, text in said.items()}
    )
    return tables.conform(frame.select(list(SAMPLES)), SAMPLES, "samples")


def captions(*frames: pl.DataFrame) -> pl.DataFrame:
    """sample_id, caption and sound of the rows of releases that have one of them."""
    columns = [pl.col(name).cast(pl.String) for name in CAPTIONS]
    empty = pl.DataFrame(schema=dict.fromkeys(("sample_id", *CAPTIONS, SOUND), pl.String))
    whole = tables.stacked([frame.select(pl.col({*empty.columns} & {*frame.columns})) for frame in (*frames, empty)])
    caption = pl.coalesce(columns).str.slice(0, LONGEST)
    said = whole.select("sample_id", caption=caption, sound=pl.col(SOUND).cast(pl.String))
    some = pl.any_horizontal(pl.col("caption", "sound").is_not_null())
    return said.filter(some).unique("sample_id", keep="first", maintain_order=True)


def shown(frame: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most ``most`` rows, in their order: labels called wrong first, then the largest |derivative|."""
    if len(frame) <= most:
        return frame
    rank = [pl.col("called"), pl.col("derivative").abs().fill_null(0.0)]
    places = frame.with_row_index("number").sort(rank, descending=True, maintain_order=True).head(most)["number"]
    return frame[places.sort().to_list()]
