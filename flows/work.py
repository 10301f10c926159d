"""Whether there is anything to do tonight, found out without Prefect, DVC or torch: within a second or two."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from diva.store import evaluation, ledger, paths, tables
from diva.store.ledger import Ledger
from diva.versions import operations, remote, repository, reviews, rounds
from diva.versions.published import VersionNumber
from flows import deliveries
from flows.options import Options
from stages.params import section
from stages.params.__main__ import faults
from stages.params.curate import Curate
from stages.params.extend import Extend

logger = logging.getLogger(__name__)


def ready(options: Options) -> tuple[Ledger, dict[int, VersionNumber]]:
    """Ledger and published versions, once nothing is half done and what others published is here, too.

    Raises:
        ValueError: the project is in no state to run: uncommitted code, a broken ledger, versions that are not here.
    """
    operations.settle()
    repository.require_committed()
    if options.git_remote:
        remote.share(options.git_remote)
        remote.catch_up(options.git_remote)
    book = ledger.read()
    numbers = rounds.known_versions(book)
    rounds.require_history(book, numbers)
    return book, numbers


def reasons(options: Options, tell: Callable[[str], object] = logger.warning) -> list[str]:
    """Why a run is needed, one reason a line; empty where there is nothing to do.

    Args:
        options: of the run.
        tell: takes a sentence for each delivery that brings nothing, lest it lie there unnoticed.

    Raises:
        ValueError: the project is in no state to run, see ``ready``, or parameters are broken.
    """
    book, numbers = ready(options)
    causes = [f"round {name} is not published yet" for name in rounds.unfinished(book, numbers)]
    if not causes and rounds.next_planned(book):
        causes.append("planned rounds wait")
    obstacles = [(arrival, deliveries.obstacle(book, arrival)) for arrival in deliveries.unknown(book, options.watch)]
    for _, obstacle in obstacles:
        if obstacle:
            tell(obstacle)
    causes += [f"{arrival.name} was delivered" for arrival, obstacle in obstacles if not obstacle]
    if reviews.unmet(book):
        causes.append("samples were taken down that the newest review does not name")
    if more_rounds(book, options):
        causes.append(f"round {book.latest} left candidates, or what it drew from has changed")
    if remote.BEHIND.exists():
        causes.append("data of what was published elsewhere are not here yet")
    if not causes and repository.uncommitted(*repository.CONTENT):
        causes.append("ledger, lock file or metrics are not committed yet")
    if not causes and evaluation.is_interim():
        causes.append("the newest set was not judged by every learner yet")
    if options.git_remote and repository.unpushed(options.git_remote):
        causes.append(f"versions wait to be pushed to {options.git_remote}")
    if options.stale == "rebase":
        causes.append("a new major version is asked for")
    return causes


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
    budget = checked(wanted)[0].budget
    spent = metrics("curate", book.latest) or {}
    obeyed = ledger.newest_review(book) == ledger.obeyed_review(book)
    if obeyed and budget is not None and spent.get("added", 0) >= budget:
        return False
    return not settled(book, wanted, metrics("rounds", book.latest))


def checked(settings: rounds.Settings, where: str = str(paths.PARAMS)) -> tuple[Extend, Curate]:
    """A round's settings as the stages read them."""
    return (
        section.validate(settings.get("extend"), Extend, f"{where}:extend"),
        section.validate(settings.get("curate"), Curate, f"{where}:curate"),
    )


def settled(book: Ledger, settings: rounds.Settings, metrics: Mapping[str, Any] | None) -> bool:
    """Whether another round would find nothing: the last one said so, on this pool, this review, these settings."""
    if book.latest in book.base:  # compacted: the round's metrics stayed, its settings did not
        base = book.base[book.latest]
        newest = (ledger.newest_pool(book), ledger.newest_review(book))
        return (base.pool, base.review) == newest and metrics is not None and evaluation.found_nothing(metrics)
    if book.latest not in book.rounds:
        return not book.pool and ledger.newest_review(book) == ledger.obeyed_review(book)
    last = book.rounds[book.latest]
    wanted = (ledger.newest_pool(book), ledger.newest_review(book), checked(settings))
    if metrics is None or (last.pool, last.review, checked(last.settings)) != wanted:
        return False
    return evaluation.found_nothing(metrics)


def metrics(stage: str, name: str) -> dict[str, Any] | None:
    """What a round's stage counted; None where it has not run."""
    path = paths.METRICS / stage / f"{name}.json"
    return tables.read_json(path) if path.is_file() else None
