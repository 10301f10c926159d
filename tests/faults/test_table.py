"""docs/reliability.md lists every case there is, and counts them."""

import re
from collections import Counter

from tests.faults.__main__ import COUNT, PAGE, TABLE, count, known, table


def test_the_page_lists_every_case() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert TABLE.findall(page) == [table(known())], "python -m tests.faults --list brings the page up to date"


def test_the_page_counts_what_was_run_and_what_survived() -> None:
    (said,) = COUNT.findall(PAGE.read_text(encoding="utf-8"))
    cases, ran, survived, skipped = map(int, re.findall(r"(\d+) (?:cases|run|survived|skipped)", said))
    assert survived == ran > 0
    assert ran + skipped == cases == len(known()) >= 60, "make faults runs them and counts"
    assert skipped == len(re.findall(r"^- skipped: ", said, re.MULTILINE)), "each of them is named"


def test_what_was_not_run_is_no_survivor() -> None:
    first, second, third, fourth = known()[:4]
    said = count({first: "passed", second: "failed", third: "skipped", fourth: "not run"})
    assert said.startswith("**4 cases: 2 run, 1 survived, 1 skipped**")
    assert f"- failed: {second.area}: {second.name}\n- skipped: {third.area}: {third.name}\n" in said
    assert f"- not run this time: {fourth.area} (1)" in said


def test_no_case_is_there_twice() -> None:
    assert max(Counter((case.area, case.name) for case in known()).values()) == 1
