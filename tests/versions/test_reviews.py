"""Versions of people's decisions: each holds all so far, takedowns stay."""

from pathlib import Path

import polars as pl
import pytest

from diva.store import curated, decisions, digests, index, ledger, paths, tables
from diva.versions import reviews

CHECKSUM = "sha256:" + "0" * 64


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ledger.Ledger:
    """A core of four samples and a pool of two."""
    monkeypatch.chdir(tmp_path)
    write(paths.CORE, "core", c0="a", c1="a", c2="b", c3="b")
    write(paths.pool("b001"), "b001", p0="a", p1="b")
    core = ledger.Batch(source="core", checksum=CHECKSUM, options={})
    return ledger.accept(ledger.start(core), None, "more", {}, CHECKSUM)


def write(path: Path, batch: str, **labels: str) -> None:
    rows = pl.DataFrame({"sample_id": list(labels), "label": list(labels.values())})
    others = {"batch": batch, "features": "f.h5", "row": 0, "path": "p", "checksum": "s"}
    index.write(path, rows.with_columns(**{name: pl.lit(value) for name, value in others.items()}))


def test_each_version_holds_all_decisions_so_far(book: ledger.Ledger, tmp_path: Path) -> None:
    (tmp_path / "fixes.csv").write_text("sample_id,label\nc0,b\np1,a\n")
    book, path = reviews.write(book, reviews.relabel(book, tmp_path / "fixes.csv"), "relabel fixes.csv")
    assert path == paths.review("v001")
    book, path = reviews.write(book, reviews.forget(book, ["p1", "c3", "c3"], "asked"), "forget")
    assert path == paths.review("v002")
    decided = reviews.read(book).select("sample_id", "decision", "label").rows()
    assert decided == [("c0", "relabel", "b"), ("c3", "reject", None), ("p1", "reject", None)]
    assert reviews.forgotten(book).rows() == [("c3", "forgotten: asked"), ("p1", "forgotten: asked")]
    assert book.reviews["v002"].checksum == f"sha256:{digests.sha256(path)}"
    assert reviews.forget(book, ["c3"]).is_empty(), "it was taken down before"


def test_a_review_is_laid_over_the_one_before(book: ledger.Ledger, tmp_path: Path) -> None:
    (tmp_path / "review.csv").write_text("sample_id,decision,label,note\nc0,accept,,\nc1,reject,,\n")
    book, _ = reviews.write(book, reviews.reviewed(book, tmp_path / "review.csv"), "review review.csv")
    (tmp_path / "review.csv").write_text("sample_id,decision,label,note\nc0,relabel,b,\nc1,reject,,\np0,accept,,\n")
    fresh = reviews.reviewed(book, tmp_path / "review.csv")
    assert set(fresh["sample_id"]) == {"c0", "p0"}, "c1 stands already"
    book, path = reviews.write(book, fresh, "review review.csv")
    assert path == paths.review("v002")
    said = [("c0", "relabel", "b", None), ("c1", "reject", None, None), ("p0", "accept", None, None)]
    assert reviews.read(book).drop("reviewer").rows() == said
    assert reviews.reviewed(book, tmp_path / "review.csv").is_empty()


def test_who_decided_is_stored_with_each_decision_and_a_second_opinion_is_one(
    book: ledger.Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version of an older library has no such column: who decided then is unknown."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Bob")
    file = tmp_path / "review.csv"
    file.write_text("sample_id,decision,label,note\nc0,accept,,\nc1,reject,,\n")
    old = decisions.read(file, reviews.reviewable(book)).select(list(curated.REVIEW))
    book, path = reviews.write(book, old, "review review.csv")
    assert pl.read_parquet(path).columns == list(curated.REVIEW)
    assert reviews.read(book)["reviewer"].to_list() == [None, None]
    for name in ("Ada", None, "Cleo"):
        book, path = reviews.write(book, reviews.reviewed(book, file, name), "review review.csv")
        file.write_text("sample_id,decision,label,note\nc0,relabel,a,\n")
    assert reviews.read(book).select("sample_id", "reviewer").rows() == [("c0", "Cleo"), ("c1", "Ada")]
    assert tables.read(path, curated.REVIEW).columns == list(curated.REVIEW), "what rounds obey"
    assert reviews.reviewed(book, file, "Cleo").is_empty()
    unsigned = reviews.read(book).with_columns(reviewer=pl.lit(None, pl.String))
    assert reviews.fresh(book, unsigned).is_empty(), "nobody says it anew"
    told = reviews.history(book).select("version", "sample_id", "decision", "reviewer", "given_label").rows()
    assert told[2:] == [
        ("v002", "c0", "accept", "Ada", "a"), ("v002", "c1", "reject", "Ada", "a"),
        ("v003", "c0", "relabel", "Bob", "a"), ("v004", "c0", "relabel", "Cleo", "a"),
    ]  # fmt: skip


def test_nothing_lifts_a_takedown(book: ledger.Ledger, tmp_path: Path) -> None:
    book, _ = reviews.write(book, reviews.forget(book, ["c3"]), "forget")
    pl.DataFrame({"sample_id": ["c3"], "label": ["a"]}).write_parquet(tmp_path / "fixes.parquet")
    with pytest.raises(ValueError, match="not forgotten, got c3: takedowns stay"):
        reviews.write(book, reviews.relabel(book, tmp_path / "fixes.parquet"), "relabel")


def test_a_later_correction_stands() -> None:
    rows = pl.DataFrame({"sample_id": ["c0", "c0"], "decision": ["accept", "relabel"], "label": [None, "b"]})
    old, new = (rows[[i]].with_columns(note=pl.lit(None, pl.String)).select(list(curated.REVIEW)) for i in (0, 1))
    assert reviews.merged(old, new)["decision"].to_list() == ["relabel"]
    with pytest.raises(ValueError, match="sample_id must occur once, got two decisions on c0"):
        reviews.merged(old, pl.concat([new, new]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id,label\nc0,a\nc0,b\n", r"line 3: decision must be that of line 2 .* relabel 'a', got relabel 'b'"),
        ("sample_id\tlabel\nc1\ta\nc0\tq\n", r"line 3: label must be a class of .* near: 'a', 'b'"),
        ("sample_id,label\nc0,a\n,b\n", "got 1 without: line 3; fill"),
        ("sample_id,label\nzz,a\n", "must be that of a sample of core, pool or test set.*got 'zz'"),
        ("sample_id,label\nc0,q\n", "label must be a class of core or pool, got 'q'"),
        ("sample_id,label\nc0,\n", "a sample_id and a label in each row, got 1 without"),
        ("sample_id,class\nc0,a\n", "must have the columns sample_id and label, got sample_id, class"),
        ("", r"fixes\.csv must be a readable"),
    ],
)
def test_a_correction_that_cannot_be_is_told(book: ledger.Ledger, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "fixes.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        reviews.relabel(book, tmp_path / "fixes.csv")
