"""Runs every case and writes what came of it into docs/reliability.md: ``python -m tests.faults [pytest's options]``.

``python -m tests.faults --list`` brings the list of cases up to date without running them; with names of test files, only
the cases in these are run and counted.
"""

import importlib
import platform
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

PAGE = ROOT / "docs" / "reliability.md"
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

    def of(self, case: Case) -> str:
        """passed, failed, skipped, or that it was not run."""
        found = self.ended.get(case.key, ["not run"])
        return "failed" if "failed" in found else found[0]


def known() -> list[Case]:
    """All cases, by area and name."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.faults.{path.stem}")
    return sorted(CASES.values(), key=lambda case: (case.area, case.name.casefold()))


def table(cases: Iterable[Case]) -> str:
    """A line per case, by area."""
    rows = [f"| {case.area} | {escaped(case.name)} | {escaped(case.what)} | {case.outcome} |" for case in cases]
    return "\n".join(["| area | case | what is wrong | what comes of it |", "| --- | --- | --- | --- |", *rows]) + "\n"


def escaped(text: str) -> str:
    """Text for a cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def count(ended: Mapping[Case, str]) -> str:
    """How many ran, and how many came out as expected."""
    outcomes = list(ended.values())
    ran = [outcome for outcome in outcomes if outcome in ("passed", "failed")]
    system = f"{platform.system()}, Python {platform.python_version()}"
    told = f"{len(ran)} run, {ran.count('passed')} survived, {outcomes.count('skipped')} skipped"
    text = f"**{len(outcomes)} cases: {told}** ({date.today().isoformat()}, {system})."
    lines = [f"- {how}: {case.area}: {case.name}" for case, how in ended.items() if how in ("failed", "skipped")]
    left = Counter(case.area for case, how in ended.items() if how == "not run")
    lines += (
        [f"- not run this time: {', '.join(f'{area} ({number})' for area, number in left.items())}"] if left else []
    )
    return "\n".join([text, *lines]) + "\n"


def written(pattern: re.Pattern[str], content: str) -> None:
    """Replace a part of the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(pattern.sub(lambda _: content, page, count=1), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """0 where every case came out as expected, or is skipped here."""
    if arguments != ["--list"]:
        outcomes = Outcomes()
        where = [] if any(argument.endswith(".py") for argument in arguments) else [str(Path(__file__).parent)]
        status = pytest.main([*where, "-q", "-p", "no:cacheprovider", *PROCESSES, *arguments], plugins=[outcomes])
        written(COUNT, count({case: outcomes.of(case) for case in known()}))
    else:
        status = 0
    written(TABLE, table(known()))
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
