"""Curated sets: nothing is lost, people's decisions beat scores, the given label never changes."""

from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diva.curation.round import COLUMNS
from diva.store import curated, index, release, tables
from diva.text.choices import Decision

CORE, POOL = [f"c{number}" for number in range(6)], [f"p{number}" for number in range(6)]
LABELS = ["a", "b", "c"]


def rows(names: list[str], batch: str) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "sample_id": names,
            "batch": [batch] * len(names),
            "features": [f"{batch}.h5"] * len(names),
            "row": list(range(len(names))),
            "label": [LABELS[number % 3] for number in range(len(names))],
            "path": [f"{name}.png" for name in names],
            "checksum": ["0"] * len(names),
        }
    )
    return tables.conform(frame, index.SCHEMA, "rows")


def scores(flagged: set[str] | None = None, suggested: str = "c") -> pl.DataFrame:
    frame = pl.DataFrame({"sample_id": CORE}).with_columns(
        score=pl.lit(0.5),
        margin=pl.lit(-0.25),
        flagged=pl.col("sample_id").is_in(list(flagged or set())),
        suggested_label=pl.lit(suggested),
        derivative=pl.lit(float("nan")),
    )
    return tables.conform(frame, curated.SCORES, "scores")


def decided(*changes: tuple[str, str], suggested: str | None = "c", reason: str = "score") -> pl.DataFrame:
    frame = pl.DataFrame(list(changes), schema={"sample_id": pl.String, "change": pl.String}, orient="row")
    values = {"derivative": 0.1, "margin": 0.2, "score": 0.3, "suggested_label": suggested, "reason": reason}
    return tables.conform(
        frame.with_columns(**{name: pl.lit(value) for name, value in values.items()}), curated.CHANGES, "d"
    )


def reviewed(*decisions: tuple[str, str, str | None]) -> pl.DataFrame:
    schema = {"sample_id": pl.String, "decision": pl.String, "label": pl.String}
    frame = pl.DataFrame(list(decisions), schema=schema, orient="row")
    return tables.conform(frame.with_columns(note=pl.lit(None)), curated.REVIEW, "r")


START = curated.start(rows(CORE, "core"), scores(), "weigh")
INDEX = rows(POOL, "b001")


def row(state: pl.DataFrame, name: str) -> dict[str, Any]:
    return state.row(by_predicate=pl.col("sample_id") == name, named=True)


@pytest.mark.parametrize(
    ("action", "label", "status", "flagged", "changed_in"),
    [
        ("weigh", "a", "member", True, None),
        ("drop", "a", "removed", True, "r000"),
        ("relabel", "c", "member", False, "r000"),
    ],
)
def test_the_first_set_does_with_flagged_samples_what_is_asked(
    action: str, label: str, status: str, flagged: bool, changed_in: str | None
) -> None:
    state = curated.start(rows(CORE, "core"), scores({"c3"}), action)
    assert state.schema == dict(curated.SCHEMA)
    assert state["sample_id"].to_list() == CORE
    called = row(state, "c3")
    assert (called["label"], called["status"], called["flagged"], called["changed_in"]) == (
        label,
        status,
        flagged,
        changed_in,
    )
    assert (called["given_label"], called["suggested_label"], called["reason"]) == ("a", "c", "called c")
    other = row(state, "c0")
    assert (other["label"], other["status"], other["flagged"], other["reason"]) == ("a", "member", False, None)
    assert (other["score"], other["margin"], other["derivative"], other["suggested_label"]) == (0.5, -0.25, None, "c")


def test_a_core_sample_without_a_score_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"scores must cover every sample of the core, got 1 others \(first: c5\)"):
        curated.start(rows(CORE, "core"), scores()[:5], "weigh")
    with pytest.raises(ValueError, match="action must be one of weigh, drop, relabel, got 'burn'"):
        curated.start(rows(CORE, "core"), scores(), "burn")


def test_a_round_adds_removes_relabels_and_flags() -> None:
    decisions = decided(
        ("p1", "add"), ("p4", "add"), ("p4", "flag"), ("c0", "remove"), ("c1", "relabel"), ("c2", "flag")
    )
    state = curated.apply("r001", START, decisions, INDEX, reviewed())
    assert state["sample_id"].to_list() == [*CORE, "p1", "p4"]
    assert row(state, "p1") | {"features": "b001.h5"} == {
        "sample_id": "p1", "path": "p1.png", "batch": "b001", "features": "b001.h5", "row": 1, "label": "b",
        "given_label": "b", "suggested_label": "c", "flagged": False, "origin": "pool", "round": "r001",
        "status": "member", "changed_in": None, "derivative": 0.1, "margin": 0.2, "score": 0.3, "reason": "score",
    }  # fmt: skip
    assert (row(state, "c0")["status"], row(state, "c0")["changed_in"]) == ("removed", "r001")
    assert (row(state, "c1")["label"], row(state, "c1")["given_label"], row(state, "c1")["changed_in"]) == (
        "c",
        "b",
        "r001",
    )
    assert state.filter("flagged")["sample_id"].to_list() == ["c0", "c2", "p4"]
    assert curated.counts(state) == {"members": 7, "core": 5, "added": 2, "removed": 1, "flagged": 2, "relabelled": 1}


def test_flags_of_a_round_replace_the_earlier_ones_of_members() -> None:
    first = curated.apply("r001", START, decided(("c0", "flag"), ("c1", "remove")), INDEX, reviewed())
    second = curated.apply("r002", first, decided(("c2", "flag")), INDEX, reviewed())
    assert second.filter("flagged")["sample_id"].to_list() == ["c1", "c2"]
    assert row(second, "c0")["reason"] is None
    assert row(second, "c1")["reason"] == "score"
    assert row(second, "c1")["changed_in"] == "r001"


def test_people_bring_back_what_scores_removed_or_relabelled() -> None:
    first = curated.apply(
        "r001", START, decided(("c0", "remove"), ("c1", "relabel"), ("c2", "remove")), INDEX, reviewed()
    )
    said = reviewed(("c0", "accept", None), ("c1", "accept", None), ("c2", "relabel", "b"), ("c3", "reject", None))
    second = curated.apply("r002", first, decided(("c3", "flag")), INDEX, said)
    now = {name: (row(second, name)["status"], row(second, name)["label"]) for name in ("c0", "c1", "c2", "c3")}
    assert now == {"c0": ("member", "a"), "c1": ("member", "b"), "c2": ("member", "b"), "c3": ("removed", "a")}
    assert row(second, "c0")["changed_in"] == "r002"
    assert row(second, "c0")["reason"] == "review: accept"


def test_a_review_that_stands_changes_nothing_again() -> None:
    said = reviewed(("c0", "reject", None), ("c1", "relabel", "c"), ("p0", "reject", None))
    first = curated.apply("r001", START, decided(), INDEX, said)
    assert curated.apply("r002", first, decided(), INDEX, said).equals(first)


def test_a_rejected_addition_is_kept_as_removed() -> None:
    state = curated.apply("r001", START, decided(("p0", "add")), INDEX, reviewed(("p0", "reject", None)))
    assert (row(state, "p0")["status"], row(state, "p0")["round"], row(state, "p0")["changed_in"]) == (
        "removed",
        "r001",
        "r001",
    )


@pytest.mark.parametrize(
    ("decisions", "review", "message"),
    [
        (decided(("p9", "add")), reviewed(), r"changes must add samples of the pool, got 1 others \(first: p9\)"),
        (decided(("p0", "add"), ("p0", "add")), reviewed(), "changes must add each sample once"),
        (decided(("p0", "remove")), reviewed(), r"changes must be of members only, got 1 others \(first: p0\)"),
        (decided(("c0", "delete")), reviewed(), r"change must be one of remove, relabel, .* \(first: delete\)"),
        (decided(("c0", "relabel"), suggested=None), reviewed(), "change relabel must come with a label"),
        (decided(), reviewed(("c0", "drop", None)), r"decision must be one of accept, reject, relabel, got 1"),
        (decided(), reviewed(("c0", "relabel", None)), "decision relabel must come with a label"),
        (decided(), reviewed(("c0", "relabel", "zebra")), r"review must relabel to known classes, .*zebra"),
        (decided(), reviewed(("c0", "accept", None), ("c0", "reject", None)), "review must hold one decision per"),
    ],
)  # fmt: skip
def test_a_decision_that_does_not_fit_is_an_error(decisions: pl.DataFrame, review: pl.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curated.apply("r001", START, decisions, INDEX, review)


def test_a_sample_in_the_set_is_not_added_again() -> None:
    first = curated.apply("r001", START, decided(("p0", "add"), ("p0", "remove")), INDEX, reviewed())
    with pytest.raises(ValueError, match="got 1 that are in the set already"):
        curated.apply("r002", first, decided(("p0", "add")), INDEX, reviewed())


@st.composite
def rounds(draw: st.DrawFn) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    """A history that fits: each round adds new samples and changes some that are members whatever was decided."""
    left, history = list(POOL), []
    removed: set[str] = set()
    for _ in range(draw(st.integers(1, 3))):
        added = draw(st.lists(st.sampled_from(left), unique=True)) if left else []
        left = [name for name in left if name not in added]
        alive = [name for name in (*CORE, *POOL) if name not in left and name not in removed]
        changed = draw(
            st.lists(st.tuples(st.sampled_from(alive), st.sampled_from(["remove", "relabel", "flag"])), unique=True)
            if alive
            else st.just([])
        )
        changed = [(name, change) for name, change in changed if name not in removed]
        people = draw(st.dictionaries(st.sampled_from([*CORE, *POOL]), st.sampled_from(get_args(Decision))))
        removed |= {name for name, change in changed if change == "remove"}
        removed |= {name for name, decision in people.items() if decision == "reject"}
        said = reviewed(
            *((name, decision, "b" if decision == "relabel" else None) for name, decision in people.items())
        )
        history.append((decided(*((name, "add") for name in added), *changed), said))
    return history


@settings(max_examples=60, deadline=None)
@given(rounds(), st.randoms(use_true_random=False))
def test_no_sample_is_ever_lost_and_people_beat_scores(
    history: list[tuple[pl.DataFrame, pl.DataFrame]], random: Any
) -> None:
    state = START
    for number, (decisions, review) in enumerate(history, 1):
        before, added = set(state["sample_id"]), set(decisions.filter(pl.col("change") == "add")["sample_id"])
        after = curated.apply(f"r{number:03d}", state, decisions, INDEX, review)
        turned = decisions.sample(fraction=1, shuffle=True, seed=random.randrange(99))
        assert curated.apply(f"r{number:03d}", state, turned, INDEX, review[::-1]).equals(after)
        assert after["sample_id"].n_unique() == len(after)
        assert set(after["sample_id"]) == before | added
        assert after.join(state, on="sample_id").filter(pl.col("given_label") != pl.col("given_label_right")).is_empty()
        moved = after.filter((pl.col("label") != pl.col("given_label")) | (pl.col("status") == "removed"))
        assert moved["changed_in"].null_count() == 0
        judged = after.join(review.select("sample_id", "decision", said="label"), on="sample_id")
        assert not judged["flagged"].any()
        assert set(judged.filter(pl.col("decision") == "reject")["status"]) <= {"removed"}
        assert set(judged.filter(pl.col("decision") != "reject")["status"]) <= {"member"}
        accepted = judged.filter(pl.col("decision") == "accept")
        assert accepted["label"].equals(accepted["given_label"])
        assert set(judged.filter(pl.col("decision") == "relabel")["label"]) <= {"b"}
        state = after


def test_a_set_is_read_by_round_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    curated.write(Path("data/curated/r000.parquet"), START)
    assert curated.read("r000").equals(START)
    assert curated.read(tmp_path / "data/curated/r000.parquet").equals(START)
    with pytest.raises(ValueError, match=r"r001\.parquet must exist"):
        curated.read("r001")


def weights(names: list[str], value: float = 0.5) -> pl.DataFrame:
    frame = pl.DataFrame({"sample_id": names}).with_columns(
        weight=pl.lit(value), derivative=pl.lit(1.5), margin=pl.lit(None)
    )
    return tables.conform(frame, release.WEIGHTS, "weights")


def test_the_release_holds_the_members_and_apart_from_them_the_removed() -> None:
    state = curated.apply("r001", START, decided(("p0", "add"), ("c0", "remove"), ("c1", "flag")), INDEX, reviewed())
    train, removed = release.frames(state, weights([*CORE, *POOL]), weighted=True)
    assert train.columns == list(release.TRAIN)
    assert removed.columns == list(release.REMOVED)
    assert train["sample_id"].to_list() == [*CORE[1:], "p0"]
    assert removed["sample_id"].to_list() == ["c0"]
    assert train["weight"].unique().to_list() == [0.5]
    assert row(train, "c1")["derivative"] == 1.5, "the newest value"
    assert row(train, "c1")["margin"] == 0.2, "the round's, where there is no newer one"
    assert release.frames(state, weights([*CORE, *POOL]), weighted=False)[0]["weight"].unique().to_list() == [1.0]


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="weights must be finite and ≥ 0 for every member, got 6 others"):
        release.frames(START, weights(CORE, value), weighted=True)
    with pytest.raises(ValueError, match=r"got 1 others \(first: c5\)"):
        release.frames(START, weights(CORE[:5]), weighted=True)


@pytest.mark.parametrize(
    ("setting", "held_out", "kept", "reason"),
    [
        ("auto", {"with_weights": 0.10, "without_weights": 0.12}, True, "error 0.1 with weights, 0.12 without"),
        ("auto", {"with_weights": 0.12, "without_weights": 0.12}, False, "all weights are 1"),
        ("auto", {"with_weights": 0.13, "without_weights": 0.12}, False, "held-out error 0.13 with weights"),
        ("auto", {"with_weights": 0.13, "without_weights": None}, False, "no held-out comparison"),
        ("auto", None, False, "no held-out comparison"),
        ("always", None, True, "release.weights is always"),
        ("never", {"with_weights": 0.1, "without_weights": 0.2}, False, "release.weights is never"),
    ],
)  # fmt: skip
def test_weights_are_kept_only_where_they_help(setting: str, held_out: Any, kept: bool, reason: str) -> None:
    verdict = release.verdict(setting, held_out)
    assert verdict.weighted is kept
    assert reason in verdict.reason


def test_a_round_goes_by_few_columns_of_the_set_before_it_and_of_the_pool():
    changes = decided(("p1", "add"), ("c0", "remove"), ("c1", "relabel"))
    people, only = reviewed(("c2", "reject", None), ("p1", "relabel", "a")), ("status", *curated.ROWS)
    whole = curated.apply("r001", START, changes, INDEX, people, only)
    state, pool = START.select(COLUMNS), INDEX.drop("path", "pixels", "group", "checksum")
    assert curated.apply("r001", state, changes, pool, people, only).equals(whole)


def test_a_label_that_only_a_later_batch_brings_waits_for_it():
    """A planned round may be older than the decisions it obeys."""
    said = reviewed(("c0", "relabel", "zebra"), ("c1", "relabel", "c"), ("c2", "reject", None), ("c3", "accept", None))
    early = curated.possible(said, START, INDEX)
    assert early["sample_id"].to_list() == ["c1", "c2", "c3"]
    state = curated.apply("r001", START, decided(), INDEX, early)
    assert row(state, "c0")["label"] == "a"
    later = INDEX.with_columns(label=pl.lit("zebra"))
    assert curated.possible(said, state, later).equals(said)
    assert row(curated.apply("r002", state, decided(), later, said), "c0")["label"] == "zebra"
