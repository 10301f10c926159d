"""docs/reliability.md lists every case there is, and counts them."""

from collections import Counter

from tests.faults.__main__ import COUNT, PAGE, TABLE, cell, count, known, table, verdicts


def test_the_page_lists_every_case() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert TABLE.findall(page) == [table(known(), verdicts())], "python -m tests.faults --list brings it up to date"
    assert COUNT.findall(page) == [count(known(), verdicts())]


def test_nothing_that_was_run_has_failed() -> None:
    said = [verdict.split()[0] for verdict in verdicts().values()]
    assert "failed" not in said
    assert said.count("passed") >= 60, "make faults runs them and writes what came of it"


def test_what_was_not_run_is_no_survivor() -> None:
    first, second, third, fourth = known()[:4]
    told = {cell(first): "passed 2026-01-01", cell(second): "failed 2026-01-01", cell(third): "skipped 2026-01-01"}
    said = count([first, second, third, fourth], told)
    assert said.startswith("**4 cases: 2 run, 1 survived, 1 skipped.**")
    assert f"- failed: {second.area}: {second.name}\n- skipped: {third.area}: {third.name}\n" in said
    assert f"- not run yet: {fourth.area} (1)" in said


def test_no_case_is_there_twice() -> None:
    assert max(Counter((case.area, case.name) for case in known()).values()) == 1
