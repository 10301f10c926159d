"""People's decisions beside what the scores had said."""

from pathlib import Path

import polars as pl
import pytest

from diva.store import curated, ledger, overruled, paths, tables

CHECKSUM = "sha256:" + "0" * 64


def review(**said: tuple[str, str | None]) -> pl.DataFrame:
    rows = [(name, decision, label, None) for name, (decision, label) in said.items()]
    return pl.DataFrame(rows, dict(curated.REVIEW), orient="row")


def state(**rows: tuple[bool, float]) -> pl.DataFrame:
    """A set of members labelled a, of whom b is suggested: flagged or not, with a score."""
    told = {
        "sample_id": list(rows),
        "flagged": [flagged for flagged, _ in rows.values()],
        "score": [score for _, score in rows.values()],
    }
    fixed = {"label": "a", "given_label": "a", "suggested_label": "b", "status": "member"}
    others = {name: pl.lit(None, kind) for name, kind in curated.SCHEMA.items() if name not in (*told, *fixed)}
    frame = pl.DataFrame(told).with_columns(**{name: pl.lit(value) for name, value in fixed.items()}, **others)
    return tables.conform(frame, curated.SCHEMA, "state")


SEEN = state(c0=(True, 0.9), c1=(True, 0.8), c2=(True, 0.7), c3=(True, 0.7), c4=(False, 0.2), c5=(False, 0.1))
DECIDED = review(
    c0=("reject", None), c1=("relabel", "b"), c2=("relabel", "c"), c3=("accept", None),
    c4=("accept", None), c5=("reject", None), p0=("reject", None),
)  # fmt: skip


def test_people_overrule_calls_they_accept_and_silence_they_reject() -> None:
    found = overruled.overruled(DECIDED, [(SEEN, DECIDED)])
    assert found.counts.rows() == [
        ("wrong", "accept", 1, 1),
        ("wrong", "reject", 1, 0),
        ("wrong", "relabel", 2, 0),
        ("right", "accept", 1, 0),
        ("right", "reject", 1, 1),
        ("nothing", "reject", 1, 0),
    ]
    assert found.counts["samples"].sum() == len(DECIDED) == len(found.samples)
    assert set(found.samples.filter("overruled")["sample_id"]) == {"c3", "c5"}


def test_precision_is_the_share_of_reviewed_calls_that_people_found_wrong() -> None:
    calls = overruled.overruled(DECIDED, [(SEEN, DECIDED)]).calls
    assert (calls.reviewed, calls.wrong, calls.precision) == (4, 3, 0.75)
    assert (calls.suggested, calls.relabelled) == (1, 2)
    assert calls.low is not None
    assert calls.high is not None
    assert 0 < calls.low < 0.75 < calls.high < 1


def test_the_curve_counts_all_reviewed_samples_of_at_least_a_score() -> None:
    curve = overruled.overruled(DECIDED, [(SEEN, DECIDED)]).curve
    assert curve.rows() == [(0.9, 1, 1, 1.0), (0.8, 2, 2, 1.0), (0.7, 4, 3, 0.75), (0.2, 5, 3, 0.6), (0.1, 6, 4, 4 / 6)]


def test_a_sample_is_judged_as_people_first_saw_it() -> None:
    """After the first review its set shows what people made of the sample, not what scores say."""
    first, second = review(c0=("accept", None)), review(c0=("reject", None), c4=("accept", None))
    after = state(c0=(False, 0.9), c4=(True, 0.5))
    found = overruled.overruled(second, [(SEEN, first), (after, second)])
    said = dict(found.samples.select("sample_id", "said").iter_rows())
    assert said == {"c0": "wrong", "c4": "wrong"}


def test_what_the_scores_removed_or_relabelled_was_called_wrong() -> None:
    changed = SEEN.with_columns(
        status=pl.when(pl.col("sample_id") == "c4").then(pl.lit("removed")).otherwise("status"),
        label=pl.when(pl.col("sample_id") == "c5").then(pl.lit("b")).otherwise("label"),
    )
    found = overruled.overruled(DECIDED, [(changed, DECIDED)])
    assert found.samples.filter(pl.col("sample_id").is_in(["c4", "c5"]))["said"].to_list() == ["wrong", "wrong"]


def test_relabelling_to_the_given_label_is_accepting_it() -> None:
    same = review(c0=("relabel", "a"))
    assert overruled.overruled(same, [(SEEN, same)]).counts.rows() == [("wrong", "relabel", 1, 1)]


def test_takedowns_judge_nothing() -> None:
    gone = DECIDED.with_columns(note=pl.lit("forgotten: asked"))
    found = overruled.overruled(gone, [(SEEN, gone)])
    assert found.samples.is_empty()
    assert found.calls == overruled.Precision(0, 0, None, None, None, 0, 0)


def test_without_decisions_every_table_is_empty_but_whole() -> None:
    found = overruled.overruled(tables.empty(curated.REVIEW), [])
    assert (found.counts.columns, len(found.counts)) == (["said", "decision", "samples", "overruled"], 0)
    assert (found.curve.columns, len(found.curve)) == (["score", "reviewed", "wrong", "precision"], 0)


@pytest.mark.parametrize(("hits", "trials"), [(0, 3), (3, 3), (1, 40), (20, 40)])
def test_the_interval_holds_the_share_and_solves_wilsons_equation(hits: int, trials: int) -> None:
    low, high = overruled.interval(hits, trials)
    share = hits / trials
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    for bound in (low, high):
        inside = 1e-9 < bound < 1 - 1e-9
        assert not inside or abs(share - bound) == pytest.approx(overruled.Z * (bound * (1 - bound) / trials) ** 0.5)


def test_sets_are_those_before_the_first_round_that_obeys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    book = ledger.start(ledger.Batch(source="core", checksum=CHECKSUM, options={}))
    for _ in range(2):
        book = ledger.plan_review(book, "review.csv", CHECKSUM)
    for name in ("v000", "v000", "v002", "v002"):
        book = ledger.plan_round(book, {"extend": {}, "curate": {}}, review=name)
    assert overruled.looked_at(book) == [("r002", "v002")]
    curated.write(paths.curated("r002"), SEEN)
    tables.write(paths.review("v002"), DECIDED, curated.REVIEW)
    assert overruled.read(book).calls.reviewed == 4
    assert overruled.read(ledger.plan_round(ledger.start(book.batches["core"]), {})).samples.is_empty()
