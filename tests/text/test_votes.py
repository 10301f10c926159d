import pytest

from diva.estimators import annotation_table
from diva.text import votes


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, 2.5),
        ("2026-01-05", "2026-02-03 10:00"),
        ("2025-12-30T10:00:00Z", "2026-01-02T09:00:00+01:00"),
        ("", "2026-01-01"),
        ("9", "10"),
    ],
)
def test_what_was_said_later_counts_wherever_it_stands(first, second):
    lines = [
        [1, ["path", "annotator", "label", "time"]],
        [2, ["a.png", "ann", "dog", second]],
        [3, ["a.png", "ann", "cat", first]],
    ]
    assert votes.with_labels(lines, "path", "label")[1][1] == ["a.png", "dog", "dog"]


def test_times_whose_days_and_months_cannot_be_told_are_refused_by_their_line():
    lines = list(enumerate([["path", "annotator", "label", "time"], ["a.png", "ann", "dog", "03.02.2026"]], 1))
    with pytest.raises(ValueError, match=r"line 2: time must be .* \(2026-02-03 10:00\), got '03.02.2026'"):
        votes.with_labels(lines, "path", "label")
    with pytest.raises(ValueError, match="got '1/2/2026'"):
        annotation_table([0], ["ann"], ["dog"], n=1, time=["1/2/2026"])
