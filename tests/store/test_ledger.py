"""The ledger: three chains, valid by construction, the same text for the same ledger."""

from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from diva.store import ledger

CHECKSUM = "sha256:" + "0" * 64
SETTINGS = {"extend": {"per_round": 80, "loss": "calibrated"}, "curate": {"action": "weigh"}}


def batch() -> dict[str, Any]:
    return {"source": "digits", "checksum": CHECKSUM, "options": {"size": 5, "wrong": 0.25}}


def round_(previous: str, pool: str = "b001", review: str = "v000", **changes: Any) -> dict[str, Any]:
    return {"previous": previous, "pool": pool, "review": review, "settings": SETTINGS, "commit": "none"} | changes


def content(**changes: Any) -> dict[str, Any]:
    whole = {
        "batches": {"core": batch(), "test": batch(), "b001": batch(), "b002": batch()},
        "pool": {"b001": {"previous": "b000"}, "b002": {"previous": "b001"}},
        "rounds": {"r001": round_("r000"), "r002": round_("r001", "b002")},
        "latest": "r002",
        "reviews": {},
        "base": {},
    }
    return whole | changes


def only(**rounds: dict[str, Any]) -> dict[str, Any]:
    return {"rounds": rounds, "latest": max(rounds)}


def links(first: str, second: str) -> dict[str, Any]:
    return {"pool": {"b001": {"previous": first}, "b002": {"previous": second}}}


def test_what_is_written_is_read_and_written_again_the_same(tmp_path: Path) -> None:
    book = ledger.validated(content())
    ledger.write(tmp_path / "one.yaml", book)
    ledger.write(tmp_path / "two.yaml", ledger.read(tmp_path / "one.yaml"))
    text = (tmp_path / "one.yaml").read_text(encoding="utf-8")
    assert ledger.read(tmp_path / "two.yaml") == book
    assert (tmp_path / "two.yaml").read_text(encoding="utf-8") == text
    assert text.startswith("# ")
    assert "&id" not in text, "settings shared between rounds are written out"
    assert pyyaml.safe_load(text) == content()


def test_the_text_does_not_depend_on_the_order_of_entries() -> None:
    whole = content()
    turned = {
        key: dict(reversed(list(value.items()))) if isinstance(value, dict) else value for key, value in whole.items()
    }
    assert ledger.text(ledger.validated(turned)) == ledger.text(ledger.validated(whole))


@pytest.mark.parametrize("commit", ["1234567", "123456e7", "0000000", "1e10000"])
def test_a_commit_that_looks_like_a_number_stays_text(tmp_path: Path, commit: str) -> None:
    book = ledger.validated(content(rounds={"r001": round_("r000", commit=commit)}, latest="r001"))
    ledger.write(tmp_path / "ledger.yaml", book)
    assert ledger.read(tmp_path / "ledger.yaml").rounds["r001"].commit == commit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches": {"test": batch()}, "pool": {}, "rounds": {}, "latest": "r000"}, "must have 'core', got test"),
        ({"batches": {"core": batch(), "extra": batch()}}, r"batches\.extra: .*'extra'"),
        ({"batches": {"core": batch(), "b001": batch()}}, "batches must have an entry b002, as pool has"),
        ({"batches": {"core": batch() | {"checksum": "md5:1"}}}, r"batches\.core\.checksum: .*got 'md5:1'"),
        ({"pool": {"b001": {"previous": "b000"}}}, "pool must have an entry b002, as batches has"),
        (links("b000", "b000"), r"pool\.b002\.previous must be b001.*got b000"),
        (links("b007", "b001"), r"pool\.b001\.previous must be b000.*got b007"),
        (only(r001=round_("r001")), r"rounds\.r001\.previous must be r000.*got r001"),
        (only(r002=round_("r001")), r"rounds\.r002\.previous must be r000.*got r001"),
        (only(r001=round_("r000", "b009")), r"rounds\.r001\.pool must be one of b000, b001, b002, got b009"),
        (only(r001=round_("r000", "b002"), r002=round_("r001")), r"r002\.pool must be b002 or newer.*got b001"),
        (only(r001=round_("r000", review="v002"), r002=round_("r001")), r"r002\.review must be v002 or newer"),
        (only(r001=round_("r000", review="first")), r"rounds\.r001\.review: .*got 'first'"),
        (only(r001=round_("r000", comit="x")), r"rounds\.r001\.comit: extra inputs"),
        (only(r001=round_("r000", settings=None)), r"rounds\.r001\.settings: .*got None"),
        ({"latest": "r001"}, "latest must be the last round, r002, got r001"),
        ({"rounds": None, "latest": "r000"}, "rounds: .*got None"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_key_expected_and_got(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ledger.validated(content(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"ledger\.yaml must exist.*diva init"),
        ("a: [", "must be readable YAML"),
        ("latest: r000\nlatest: r001\n", "must be readable YAML.*duplicate"),
        ("", r"ledger\.yaml: input should be .*got None"),
        ("core: 1\n", "batches: field required, got nothing"),
    ],
)
def test_a_file_that_is_no_ledger_says_so(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "ledger.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        ledger.read(path)


def test_a_ledger_grows_only_at_its_ends() -> None:
    book = ledger.start(ledger.Batch(**batch()))
    assert book.latest == "r000"
    book = ledger.accept(book, "test", "none", {}, "none")
    book = ledger.accept(book, None, "photos", {}, CHECKSUM)
    book = ledger.plan_round(book, SETTINGS)
    book = ledger.accept(book, None, "more", {}, "sha256:" + "1" * 64)
    book = ledger.plan_round(book, SETTINGS, review="v001", commit="abcdef0")
    book = ledger.plan_round(book, SETTINGS)
    assert ledger.order(book) == ["core", "test", "b001", "b002"]
    assert {name: link.previous for name, link in book.pool.items()} == {"b001": "b000", "b002": "b001"}
    assert [(r.previous, r.pool, r.review) for r in book.rounds.values()] == [
        ("r000", "b001", "v000"),
        ("r001", "b002", "v001"),
        ("r002", "b002", "v001"),
    ]
    assert book.latest == "r003"
    assert ledger.delivered(book, "sha256:" + "1" * 64) == "b002"
    assert ledger.delivered(book, "none") is None


@pytest.mark.parametrize("name", ["core", "b001"])
def test_an_accepted_batch_is_never_replaced(name: str) -> None:
    with pytest.raises(ValueError, match=f"must be that of a new batch, b003, got {name}"):
        ledger.accept(ledger.validated(content()), name, "photos", {}, CHECKSUM)


def test_a_name_out_of_line_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batches\.x007: .*got 'x007'"):
        ledger.accept(ledger.validated(content()), "x007", "photos", {}, CHECKSUM)


@pytest.mark.parametrize("get", [ledger.batch, ledger.link, ledger.round_])
def test_an_entry_that_is_not_there_is_named(get: Any) -> None:
    with pytest.raises(ValueError, match="must have an entry b099, got"):
        get(ledger.validated(content()), "b099")


@given(st.integers(0, 12), st.integers(0, 12))
def test_every_grown_ledger_survives_its_own_text(batches: int, rounds: int) -> None:
    book = ledger.start(ledger.Batch(**batch()))
    for number in range(max(batches, rounds)):
        if number < batches:
            book = ledger.accept(book, None, f"delivery {number}", {}, CHECKSUM)
        if number < rounds:
            book = ledger.plan_round(book, {"extend": {"seed": number}})
    assert ledger.validated(pyyaml.safe_load(ledger.text(book))) == book
    assert len(book.rounds) == rounds


def grown(batches: int = 2, rounds: int = 2) -> ledger.Ledger:
    book = ledger.accept(ledger.start(ledger.Batch(**batch())), "test", "none", {}, "none")
    for number in range(batches):
        book = ledger.accept(book, None, f"delivery {number}", {}, f"sha256:{number:064d}")
    for _ in range(rounds):
        book = ledger.plan_round(book, SETTINGS)
    return book


def test_the_next_round_names_the_newest_review() -> None:
    book = ledger.plan_review(grown(), "forget", CHECKSUM)
    assert (ledger.obeyed_review(book), ledger.newest_review(book)) == ("v000", "v001"), "a round is due"
    book = ledger.plan_round(ledger.plan_review(book, "relabel fixes.csv", CHECKSUM), SETTINGS)
    assert book.rounds[book.latest].review == "v002"
    assert ledger.obeyed_review(book) == ledger.newest_review(book) == "v002"
    assert {name: entry.previous for name, entry in book.reviews.items()} == {"v001": "v000", "v002": "v001"}


def test_a_compacted_ledger_goes_on_counting() -> None:
    long = ledger.plan_round(ledger.plan_review(grown(), "forget", CHECKSUM), SETTINGS)
    book = ledger.compacted(long, "curated@v0.3.0")
    assert (book.latest, list(book.batches), book.pool, book.rounds) == ("r003", ["core", "test"], {}, {})
    assert ledger.delivered(book, f"sha256:{1:064d}") == "b002", "a delivery of before is still known"
    assert (ledger.newest_pool(book), ledger.newest_review(book)) == ("b002", "v001")
    book = ledger.plan_round(ledger.accept(book, None, "more", {}, "none"), SETTINGS)
    assert book.pool["b003"].previous == "b002"
    assert (book.rounds["r004"].previous, book.rounds["r004"].review) == ("r003", "v001")
    assert (ledger.sets(book), ledger.pools(book)) == (["r000", "r003", "r004"], ["b000", "b002", "b003"])
    assert ledger.validated(pyyaml.safe_load(ledger.text(book))) == book
    again = ledger.compacted(book, "curated@v0.4.0")
    assert list(again.base) == ["r004"]
    assert list(again.base["r004"].batches) == ["b001", "b002", "b003"]
    undrawn = ledger.compacted(ledger.accept(again, None, "yet more", {}, "none"), "curated@v0.4.0")
    assert (undrawn.latest, undrawn.pool, list(undrawn.base)) == ("r004", {}, ["r004"])
    assert (undrawn.base["r004"].pool, list(undrawn.base["r004"].batches)[-1]) == ("b004", "b004")
    with pytest.raises(ValueError, match="rounds must hold some to compact, got none since r004"):
        ledger.compacted(undrawn, "curated@v0.4.0")


def test_without_rounds_there_is_nothing_to_compact() -> None:
    with pytest.raises(ValueError, match="rounds must hold some to compact, got none since r000"):
        ledger.compacted(grown(rounds=0), "curated@v0.1.0")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reviews": {"v002": {"previous": "v001", "what": "x", "checksum": CHECKSUM}}}, "previous must be v000"),
        ({"base": {"r005": {"pool": "b001", "review": "v000", "version": "x", "batches": {}}}}, "must be b001"),
    ],
)
def test_a_mistake_in_reviews_or_base_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ledger.validated(content(**changes))
