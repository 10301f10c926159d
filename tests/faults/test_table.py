"""docs/reliability.md lists every case there is, and counts them."""

import re
from collections import Counter

from tests.faults.__main__ import COUNT, PAGE, TABLE, known, table


def test_the_page_lists_every_case() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert TABLE.findall(page) == [table(known())], "python -m tests.faults --list brings the page up to date"


def test_the_page_counts_what_was_run_and_what_survived() -> None:
    (said,) = COUNT.findall(PAGE.read_text(encoding="utf-8"))
    cases, ran, survived = map(int, re.findall(r"(\d+) (?:cases|run|survived)", said))
    assert survived == ran <= cases
    assert cases == len(known()) >= 60, "make faults runs them and counts"


def test_no_case_is_there_twice() -> None:
    assert max(Counter((case.area, case.name) for case in known()).values()) == 1
