"""The fold of rounds over a core: whatever rounds and people decide, no sample is lost, people have the last word."""

from typing import Any, get_args

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from diva.store import curated, index, ledger, manifest, tables
from diva.text.choices import Decision

CLASSES = ("a", "b", "c")
CORE, POOL = [f"c{n}" for n in range(4)], [f"p{n}" for n in range(6)]


def rows(names: list[str], batch: str) -> pl.DataFrame:
    columns = {"sample_id": names, "label": [CLASSES[n % 3] for n in range(len(names))]}
    frame = pl.DataFrame(columns).with_row_index("row")
    values = {"batch": batch, "features": "f", "path": "p", "checksum": "none", "group": None, "pixels": None}
    filled = frame.with_columns(**{name: pl.lit(value, pl.String) for name, value in values.items()})
    return tables.conform(filled.select(list(index.SCHEMA)), index.SCHEMA, batch)


def decided(changes: dict[str, str], suggested: str) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"sample_id": list(changes), "change": list(changes.values())}, {"sample_id": pl.String, "change": pl.String}
    )
    numbers = {name: pl.lit(0.5) for name in ("derivative", "margin", "score")}
    told = frame.with_columns(**numbers, suggested_label=pl.lit(suggested), reason=pl.lit("because"))
    return tables.conform(told.select(list(curated.CHANGES)), curated.CHANGES, "decisions")


anyone, label = st.sampled_from(CORE + POOL), st.sampled_from(CLASSES)
people = st.dictionaries(anyone, st.tuples(st.sampled_from(get_args(Decision)), label), max_size=4)
changes = st.dictionaries(anyone, st.sampled_from(["remove", "relabel", "flag", "keep"]), max_size=4)
rounds = st.lists(st.tuples(st.sets(st.sampled_from(POOL), max_size=3), changes, label, people), min_size=1, max_size=4)


def reviewed(said: dict[str, tuple[str, str]]) -> pl.DataFrame:
    entries = [(name, what, label if what == "relabel" else None, None) for name, (what, label) in said.items()]
    return pl.DataFrame(entries, dict(curated.REVIEW), orient="row")


@given(rounds)
def test_the_fold_keeps_every_sample_once_and_obeys_people(turns: list[Any]) -> None:
    pool = rows(POOL, "b001")
    state = curated.entered(rows(CORE, "core"), "core", "r000")
    before = set(CORE)
    for number, (added, changed, suggested, said) in enumerate(turns, 1):
        members = set(state.filter(pl.col("status") == "member")["sample_id"])
        fresh = dict.fromkeys(sorted(added - before), "add")
        judged = {name: what for name, what in changed.items() if name in members}
        decisions = decided(fresh | judged, suggested)
        frames = [state, decisions, pool, reviewed(said)]
        shuffled = [frame.sample(fraction=1.0, shuffle=True, seed=number) for frame in frames]
        state, again = (curated.apply(f"r{number:03d}", *each) for each in (frames, shuffled))
        assert again.equals(state, null_equal=True)
        before |= set(fresh)
        assert set(state["sample_id"]) == before
        assert state["sample_id"].is_unique().all()
        assert state.columns == list(curated.SCHEMA)
        for name, status, label, given_label, flagged in state.select(
            "sample_id", "status", "label", "given_label", "flagged"
        ).iter_rows():
            what, to = said.get(name, (None, None))
            if what is not None:
                assert status == ("removed" if what == "reject" else "member")
                assert flagged is False
                assert label == {"accept": given_label, "relabel": to}.get(what, label)
            elif judged.get(name) == "remove":
                assert status == "removed"
            assert label in CLASSES


@given(rounds)
def test_the_fold_does_not_depend_on_the_order_of_its_rows(turns: list[Any]) -> None:
    pool, state = rows(POOL, "b001"), curated.entered(rows(CORE, "core"), "core", "r000")
    added, changed, suggested, said = turns[0]
    judged = {name: what for name, what in changed.items() if name in CORE}
    frames = [state, decided(dict.fromkeys(sorted(added), "add") | judged, suggested), pool, reviewed(said)]
    shuffled = [frame.sample(fraction=1.0, shuffle=True, seed=3) for frame in frames]
    first, second = (curated.apply("r001", *each) for each in (frames, shuffled))
    assert first.equals(second, null_equal=True)


labels = st.none() | st.text(max_size=5)
samples = st.lists(
    st.tuples(st.sampled_from(["s", "t", "u", "v"]), st.text(max_size=8), st.text(min_size=1, max_size=4)), max_size=12
)


@given(samples)
def test_a_delivery_is_manifest_and_quarantine_without_loss(given_rows: list[tuple[str, str, str]]) -> None:
    kept, refused = manifest.distinct(manifest.Sample(*row) for row in given_rows)
    frame, aside = manifest.samples(kept), manifest.refusals(refused)
    assert sorted([*frame["path"], *aside["path"]]) == sorted(path for _, path, _ in given_rows)
    assert sum(manifest.kinds(aside).values()) == len(aside)
    try:
        core = manifest.for_core(manifest.Delivery(frame, aside, tables.empty(manifest.TRUTH)))
    except ValueError as error:
        assert "batches.core.source must hold" in str(error)
    else:
        assert core.samples["label"].value_counts()["count"].min() >= 2
        assert len(core.samples) + len(core.refused) == len(given_rows)


grown = st.lists(st.sampled_from(["batch", "round", "review", "compact"]), max_size=20)


@given(grown)
def test_a_ledger_that_grows_in_any_order_stays_whole(steps: list[str]) -> None:
    checksum = "sha256:" + "0" * 64
    book = ledger.start(ledger.Batch(source="digits", checksum=checksum, options={}))
    known = {"core"}
    for number, step in enumerate(steps):
        if step == "batch":
            book = ledger.accept(book, None, f"d{number}", {}, f"sha256:{number:064x}")
            known.add(f"d{number}")
        elif step == "round":
            book = ledger.plan_round(book, {"extend": {"number": number}})
        elif step == "review":
            book = ledger.plan_review(book, f"review {number}", checksum)
        elif book.rounds:
            book = ledger.compacted(book, "curated@v0.1.0")
        assert ledger.validated(book.model_dump()) == book
    for number, step in enumerate(steps):
        if step == "batch":
            assert ledger.delivered(book, f"sha256:{number:064x}")
    assert ledger.sets(book)[-1] == book.latest
