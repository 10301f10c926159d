"""Names that an export makes: one to one, and never a path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diva.versions.export import LENGTH, class_name

LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(LABELS)
def test_a_label_becomes_one_harmless_name(label: str) -> None:
    name = class_name(label)
    assert name
    assert not {"/", "\\", "\0", "\n", ":"} & set(name)
    assert not name.startswith((".", "~"))
    assert name == name.strip()
    assert len(name.encode()) <= LENGTH


@given(LABELS, LABELS)
def test_two_labels_never_share_a_name(one: str, other: str) -> None:
    assert (class_name(one) == class_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("rose", "rose"),
        ("Löwenzahn 2", "Löwenzahn 2"),
        ("../../etc/passwd", "%2E%2E%2F%2E%2E%2Fetc%2Fpasswd"),
        ("..", "%2E%2E"),
        ("a%2Fb", "a%252Fb"),
        ("<script>", "%3Cscript%3E"),
    ],
)
def test_what_a_reader_knows_stays(label: str, name: str) -> None:
    assert class_name(label) == name
