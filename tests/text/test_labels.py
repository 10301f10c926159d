"""One class however it is spelt."""

import unicodedata
from decimal import Decimal

import numpy as np
import pytest

from diva.text.labels import Spelling, normalized, plain_text


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (unicodedata.normalize("NFD", "Käse"), "Käse"),
        ("New\N{NO-BREAK SPACE}York", "New York"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}cat\N{ZERO WIDTH SPACE}", "cat"),
        *((f"{mark}cat {mark}", "cat") for mark in ("\t", "\u200d", "\u200c\u3000", "\u202a", "\u2063")),
        *((number, "1") for number in (1, 1.0, "1", "1.0", "1.00", np.float32(1), np.int8(1), Decimal("1.0"), b"1")),
        *((text, text) for text in ("001", "1.5", "v1.0", "NaN", "None", "Cat", "-1")),
        ("می\N{ZERO WIDTH NON-JOINER}خواهم", "می\N{ZERO WIDTH NON-JOINER}خواهم"),
        (1.5, "1.5"), (True, "True"), (np.True_, "True"), (np.inf, "inf"), (b"K\xe4se", "K\\xe4se"),
        *((nothing, None) for nothing in (None, np.nan, "", " \N{NO-BREAK SPACE}", b"")),
    ],
)  # fmt: skip
def test_spellings_of_a_class_are_one_label(value, label):
    assert normalized(value) == label
    assert normalized(normalized(value)) == label


def test_ids_stay_as_they_are_written():
    assert (plain_text("1.0"), plain_text(1.0), plain_text(b" a "), plain_text("")) == ("1.0", "1", "a", None)


def test_a_project_keeps_its_own_spelling():
    old = unicodedata.normalize("NFD", "Käse")
    spelling = Spelling([old, "1.0", "1", "dog"])
    assert [spelling(label) for label in ("Käse", old, "1.0", "1", " dog", "cat ")] == [
        old,
        old,
        "1.0",
        "1",
        "dog",
        "cat",
    ]
