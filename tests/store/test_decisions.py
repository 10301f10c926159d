"""A review.csv is taken whole or not at all."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diva.store import decisions
from diva.store.decisions import Decision, Reviewable

HOSTILE = ("<script>alert(1)</script>", "../../etc/passwd", "😀 cat", "שלום", "=cmd|'/c calc'!A0", 'a "quoted", label')
ABOUT = Reviewable(
    {"c0": "cat", "c1": "dog", "c2": "owl", "gone": "cat", **{f"h{place}": name for place, name in enumerate(HOSTILE)}},
    frozenset({"cat", "dog", "owl", *HOSTILE}),
    frozenset({"gone"}),
)
HEADER = "sample_id,decision,label,note\n"


def read(folder: Path, text: str | bytes) -> list[tuple[str, ...]]:
    """Decisions of a file, without who decided where it does not say so."""
    (folder / "review.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return [row if row[-1] else row[:-1] for row in decisions.read(folder / "review.csv", ABOUT).rows()]


def test_each_row_is_a_decision(tmp_path: Path) -> None:
    text = f"{HEADER}c0,accept,,\nc1,reject,dog,blurred\nc2,relabel,cat,\n"
    said = [("c0", "accept", None, None), ("c1", "reject", None, "blurred"), ("c2", "relabel", "cat", None)]
    assert read(tmp_path, text) == said
    text = "reviewer,sample_id,decision,label,note\n Ada  L. ,c0,accept,,\n,c1,reject,,\n"
    assert read(tmp_path, text) == [("c0", "accept", None, None, "Ada L."), ("c1", "reject", None, None)]
    with pytest.raises(ValueError, match="reviewer must have at most 100 characters, got 101"):
        read(tmp_path, f"reviewer,sample_id,decision,label,note\n{'x' * 101},c0,accept,,\n")
    with pytest.raises(ValueError, match="missing or repeated: reviewer"):
        read(tmp_path, "reviewer,reviewer,sample_id,decision,label,note\nx,y,c0,accept,,\n")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + "c0,accept,,\n",  # as Excel writes it
        HEADER.replace("\n", "\r\n") + "c0,accept,,\r\n",
        HEADER + "c0,accept,,",
        HEADER + '"c0","accept","",""\n\n',
        HEADER + " c0 , Accept ,cat,\n",
        "note,more,label,decision,sample_id\n,1,,accept,c0\n",
        HEADER + "c0,accept,,\nc0,accept,cat,\n",
        (HEADER + "c0,accept,,\n").replace(",", "\t"),
    ],
    ids=["mark", "windows", "no end", "quotes", "spaces", "order", "twice the same", "tabs"],
)
def test_how_a_table_is_written_changes_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == [("c0", "accept", None, None)]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    rows = [Decision(f"h{place}", "relabel", name, name, name) for place, name in enumerate(HOSTILE)]
    decisions.write(tmp_path / "review.csv", rows)
    assert [Decision(*row) for row in decisions.read(tmp_path / "review.csv", ABOUT).iter_rows()] == rows


def test_one_error_names_every_bad_line_and_a_remedy(tmp_path: Path) -> None:
    text = (
        f'{HEADER}c0,accept,,"two\nlines"\nzz,accept,,\nc1,maybe,,\nc1,relabel,,\nc2,relabel,dgo,\nc1,accept,cat,\n'
        f"gone,accept,,\nc0,reject,,\nc1,reject,,,\nc2,reject,,forgotten by me\nc2,reject,,\x1b[31m\n"
    )
    with pytest.raises(
        ValueError, match=r"review\.csv must hold valid decisions alone, got 10 bad of 10 rows"
    ) as caught:
        read(tmp_path, text)
    told = dict(line.strip().split(": ", 1) for line in str(caught.value).splitlines()[1:])
    assert {line: text.split(" ", 1)[0] for line, text in told.items()} == {
        "line 4": "sample_id", "line 5": "decision", "line 6": "label", "line 7": "label", "line 8": "label",
        "line 9": "sample_id", "line 10": "decision", "line 11": "the", "line 12": "note", "line 13": "note",
    }  # fmt: skip
    assert "near: 'dog'" in told["line 7"]
    assert "keep one of them" in told["line 10"]
    assert "diva forget" in told["line 12"]
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have the columns .* got an empty file"),
        (HEADER, "at least one decision"),
        ("sample_id,decision,lable,note\n", "missing or repeated: label"),
        ("sample_id;decision;label;note\nc0;accept;;\n", "separated by commas"),
        ("sample_id,decision,label,label,note\n", "missing or repeated: label"),
        (
            HEADER.encode() + b"c0,reject,,ok\nc1,reject,,caf\xe9\n",
            "UTF-8, got the byte 0xe9 in line 3; save it as UTF-8",
        ),
        (HEADER.encode("utf-16"), "must be text in UTF-8"),
        (HEADER + 'c0,reject,,"open\n', "line 2: the row must be readable CSV"),
        (HEADER + f"c0,reject,,{'x' * 1001}\n", "at most 1000 characters, got 1001"),
    ],
)
def test_a_table_that_cannot_be_is_told(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.csv must be a readable \.csv, got No such file"):
        decisions.read(tmp_path / "none.csv", ABOUT)
    with pytest.raises(ValueError, match="Is a directory"):
        decisions.read(tmp_path, ABOUT)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_decisions_or_one_readable_error(tmp_path_factory, content: bytes, headed: bool) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    file.write_bytes(HEADER.encode() * headed + content)
    try:
        found, told = decisions.read(file, ABOUT), ""
    except ValueError as error:
        found, told = decisions.frame([]), str(error)
    assert bool(len(found)) != (str(file) in told)
    assert set(found["sample_id"]) <= set(ABOUT.given)
