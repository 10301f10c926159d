"""Runs every case and writes what came of it into docs/reliability.md: ``python -m tests.faults [pytest's options]``.

``python -m tests.faults --list`` brings the list of cases up to date without running them; with names of test files, or
``-k``, only those cases are run, and what is known of the others stays.
"""

import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.faults.case import CASES, Case

ELSEWHERE = (  # tests of operation, beside what they share with others
    "tests/as_printed/test_as_printed.py",
    "tests/flows/test_additions.py",
    "tests/flows/test_leftovers.py",
    "tests/flows/test_sentences.py",
    "tests/flows/test_server.py",
    "tests/soak/test_nights.py",
    "tests/stages/test_same_pixels.py",
    "tests/versions/test_operations.py",
    "tests/versions/test_takedowns.py",
    "tests/versions/test_transfer.py",
)
PAGE = ROOT / "docs" / "reliability.md"
HEADS = ("area", "case", "what is wrong", "what comes of it", "last run")
NOT_YET = "—"
PROCESSES = ("-n", "2", "--dist", "loadgroup")
TABLE = re.compile(r"(?<=<!-- cases -->\n).*?(?=<!-- end of cases -->)", re.DOTALL)
COUNT = re.compile(r"(?<=<!-- count -->\n).*?(?=<!-- end of count -->)", re.DOTALL)


class Outcomes:
    """A plugin of pytest: how each case ended."""

    def __init__(self) -> None:
        self.ended: dict[tuple[str, str], list[str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Every part of a test counts: its fixtures, itself, what is cleared away."""
        told = dict(report.user_properties).get("fault")
        if told is not None and (report.when == "call" or report.outcome != "passed"):
            area, name = told
            self.ended.setdefault((area, name), []).append(report.outcome)

    def of(self, case: Case) -> str | None:
        """passed, failed or skipped; None where it was not run."""
        found = self.ended.get(case.key)
        return None if found is None else "failed" if "failed" in found else found[0]


def known() -> list[Case]:
    """All cases, by area and name."""
    for path in [*sorted(Path(__file__).parent.glob("test_*.py")), *map(ROOT.joinpath, ELSEWHERE)]:
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return sorted(CASES.values(), key=lambda case: (case.area, case.name.casefold()))


def table(cases: Iterable[Case], verdicts: Mapping[tuple[str, str], str]) -> str:
    """A line per case, by area, with what came of it when it was last run."""
    heads = [" | ".join(HEADS), " | ".join("---" for _ in HEADS)]
    rows = [
        " | ".join((case.area, escaped(case.name), escaped(case.what), case.outcome, verdicts.get(cell(case), NOT_YET)))
        for case in cases
    ]
    return "".join(f"| {row} |\n" for row in [*heads, *rows])


def cell(case: Case) -> tuple[str, str]:
    """Area and name, as the table has them."""
    return case.area, escaped(case.name)


def verdicts() -> dict[tuple[str, str], str]:
    """What the page says of each case's last run."""
    (rows,) = TABLE.findall(PAGE.read_text(encoding="utf-8"))
    cells = [re.split(r"(?<!\\) \| ", row[2:-2]) for row in rows.splitlines()[2:]]
    return {(row[0], row[1]): row[4] for row in cells if len(row) == len(HEADS)}


def escaped(text: str) -> str:
    """Text for a cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def count(cases: Iterable[Case], verdicts: Mapping[tuple[str, str], str]) -> str:
    """How many were run, and how many came out as expected; the others by name."""
    found = {case: verdicts.get(cell(case), NOT_YET).split()[0] for case in cases}
    number = Counter(found.values())
    ran = number["passed"] + number["failed"]
    lines = [f"**{len(found)} cases: {ran} run, {number['passed']} survived, {number['skipped']} skipped.**"]
    lines += [f"- {how}: {case.area}: {case.name}" for case, how in found.items() if how in ("failed", "skipped")]
    left = Counter(case.area for case, how in found.items() if how == NOT_YET)
    lines += [f"- not run yet: {', '.join(f'{area} ({n})' for area, n in left.items())}"] if left else []
    return "\n".join(lines) + "\n"


def written(pattern: re.Pattern[str], content: str) -> None:
    """Replace a part of the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(pattern.sub(lambda _: content, page, count=1), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """0 where every case came out as expected, or is skipped here."""
    status, told = 0, verdicts()
    if arguments != ["--list"]:
        outcomes, today = Outcomes(), date.today().isoformat()
        where = (
            []
            if any(argument.endswith(".py") for argument in arguments)
            else [Path(__file__).parent, *map(ROOT.joinpath, ELSEWHERE)]
        )
        status = int(
            pytest.main([*map(str, where), "-q", "-p", "no:cacheprovider", *PROCESSES, *arguments], plugins=[outcomes])
        )
        told |= {cell(case): f"{found} {today}" for case in known() if (found := outcomes.of(case))}
    written(TABLE, table(known(), told))
    written(COUNT, count(known(), told))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
