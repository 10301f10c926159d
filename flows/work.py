"""Whether there is anything to do tonight, found out without Prefect, DVC or torch: within a second or two."""

import json
from typing import Any

from diva.store import ledger, paths
from diva.store.ledger import Ledger
from flows import deliveries, published, repository
from flows.options import Options
from stages.params import section
from stages.params.__main__ import faults


def reasons(options: Options) -> list[str]:
    """Why a run is needed, one reason a line; empty where there is nothing to do.

    Raises:
        ValueError: the project is in no state to run: uncommitted code, broken parameters or ledger.
    """
    repository.require_committed()
    book, known = ledger.read(), published.versions()
    published.require_tags(book, known)
    published.require_history(book, known)
    found = [f"round {name} is not published yet" for name in published.unfinished(book, known)]
    if not found and published.next_planned(book):
        found.append("planned rounds wait")
    arrivals = [arrival for arrival in deliveries.new(book, options.watch) if deliveries.worth_a_run(book, arrival)]
    found += [f"{arrival.name} was delivered" for arrival in arrivals]
    if more_rounds(book, options):
        found.append(f"round {book.latest} left candidates, or what it drew from has changed")
    if not found and repository.uncommitted(*repository.OWN):
        found.append("ledger, lock file or metrics are not committed yet")
    if options.git_remote and repository.unpushed(options.git_remote):
        found.append(f"versions wait to be pushed to {options.git_remote}")
    if options.stale == "rebase":
        found.append("a new major version is asked for")
    return found


def settings(options: Options) -> dict[str, dict[str, Any]]:
    """What the next round's ledger entry will keep, from params.yaml.

    Raises:
        ValueError: any section of params.yaml is wrong.
    """
    params = section.load()
    wrong = faults(params)
    if wrong:
        raise ValueError("\n".join(wrong))
    extend = dict(params["extend"])
    if options.budget is not None:
        extend["budget"] = options.budget
    return {"extend": extend, "curate": dict(params["curate"])}


def more_rounds(book: Ledger, options: Options) -> bool:
    """Whether another round is worth planning: candidates may be left, and the budget is not spent."""
    wanted = settings(options)
    budget = wanted["extend"]["budget"]
    spent = metrics("curate", book.latest) or {}
    obeyed = ledger.newest_review(book) == ledger.obeyed_review(book)
    if obeyed and budget is not None and spent.get("added", 0) >= budget:
        return False
    return not published.settled(book, wanted, metrics("rounds", book.latest))


def metrics(stage: str, name: str) -> dict[str, Any] | None:
    """What a round's stage counted; None where it has not run."""
    path = paths.METRICS / stage / f"{name}.json"
    content: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return content
