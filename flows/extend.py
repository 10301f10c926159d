"""One round, published: plan → reproduce → push → commit → tag, each step safe to repeat after a kill.

The plan is written into the ledger first; the tag comes last and publishes. A run that finds a round without a tag does
its steps again: those that are done already do nothing. ``python -m flows.extend`` publishes one round.
"""

if __name__ == "__main__":
    from flows import terminal

    terminal.extend()

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.assets import add_asset_metadata, materialize
from prefect.cache_policies import NO_CACHE
from prefect.context import AssetContext
from prefect.exceptions import MissingContextError

from diva.store import evaluation, ledger, paths, tables
from diva.store.curated import read as read_set
from diva.store.features import FeatureFile
from diva.store.ledger import Ledger
from diva.versions import published, remote, repository, reviews, rounds, takedowns
from diva.versions.locks import exclusive
from diva.versions.pipeline import dvc, loaded_libraries, locked_stages
from diva.versions.processes import BusyError, CommandError, PermanentError, environment
from diva.versions.published import VersionNumber
from flows import artifacts, cluster, provenance, work
from flows.options import Address, Budget, Options, Runner, Stale

CHOICE = (
    "Keep them as they are stored: `python -m flows.nightly --keep`. Begin a new chain under a new major version: "
    "`python -m flows.nightly --rebase`. Or put code, parameters and data back as they were."
)


def log() -> Any:
    """The run's logger, or that of this module where no flow runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger(__name__)


def waits_for_dvc(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failure is another DVC process at work."""
    return isinstance(state.result(raise_on_failure=False), BusyError)


def is_outside(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failure lies with disk or network, and may pass."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, CommandError | OSError) and not isinstance(error, PermanentError)


# twelve hours: longer than the longest stage that may hold DVC's lock
BUSY: dict[str, Any] = {"retries": 720, "retry_delay_seconds": 60, "retry_condition_fn": waits_for_dvc}
OUTSIDE: dict[str, Any] = {"retries": 3, "retry_delay_seconds": [10, 60, 300], "retry_condition_fn": is_outside}
# of DVC's log: what did not happen, and advice for people
NOISE = re.compile(r"didn.t change, skipping|^To (track|enable)|^\s+(git add|dvc config)|^Use .dvc push|^Updating")


@task(name="Plan a round in the ledger", cache_policy=NO_CACHE)
def plan(options: Options) -> str:
    """Write the next round into the ledger."""
    book = rounds.plan(ledger.read(), work.settings(options), published.by_round())
    ledger.write(paths.LEDGER, book)
    log().info("%s is planned, on pool %s.", book.latest, book.rounds[book.latest].pool)
    return book.latest


@task(name="Fetch what earlier runs stored", cache_policy=NO_CACHE, **OUTSIDE)
def fetch() -> None:
    """``dvc pull`` of what was published elsewhere, where it is missing here or differs."""
    done = rounds.done(ledger.read(), published.by_round())
    if not all(map(Path.is_file, map(paths.curated, done[-1:]))):
        run_dvc("pull", "--force")
    remote.bring(log().info)


@task(name="Bring features up to date with DVC", cache_policy=NO_CACHE, **BUSY)
def prepare(stale: Stale) -> None:
    """All that rounds depend on, without the rounds; features made in different ways are refused."""
    book = ledger.read()
    rounds.tidy(book)
    if stale == "stop":
        provenance.require_same_parameters(locked_stages())
        provenance.require_same_weights()
    numbers = published.by_round()
    if rounds.done(book, numbers):
        if stale == "stop":
            provenance.require_same_revision()
    elif numbers:
        run_dvc("repro", "--force", "--single-item", "code")  # a new chain rests on the code as it is now
    pools = [f"pool@{ledger.newest_pool(book)}"] if book.pool else []
    run_dvc("repro", "fit", "start", *pools)
    provenance.require_same_features(book)


@task(name="Check that published rounds still follow from their inputs", cache_policy=NO_CACHE, **BUSY)
def check_history(stale: Stale) -> None:
    """Stop where they do not, or do what was asked for."""
    done = rounds.done(ledger.read(), published.by_round())
    inputs = rounds.stale(locked_stages(), done)
    if not inputs:
        return
    what = "; ".join(f"{name}: {', '.join(files)}" for name, files in inputs.items())
    if stale == "stop":
        raise ValueError(f"Published rounds must follow from their inputs, but these have changed ({what}). {CHOICE}")
    require_rows(done[-1])
    stages = [f"{verb}@{name}" for name in inputs for verb in ("extend", "curate")]
    run_dvc("commit", "--force", *stages)
    log().warning("Kept as they are stored, though inputs changed: %s.", what)


def require_rows(name: str) -> None:
    """Refuse to keep a set whose rows have moved within the files of features."""
    state = read_set(name)
    for path, rows in state.group_by("features"):
        stored = dict(enumerate(FeatureFile(str(path[0])).sample_id))
        if any(stored.get(row) != sample for sample, row in rows.select("sample_id", "row").iter_rows()):
            raise ValueError(f"Rows of {path[0]} must be those that {name} names, but they moved: use --rebase.")


@task(name="Begin a new chain of rounds", cache_policy=NO_CACHE)
def rebase() -> None:
    """A ledger without rounds; their versions stay where their tags are."""
    book = rounds.prefix(ledger.read(), None)
    ledger.write(paths.LEDGER, book)
    rounds.PLANNED.unlink(missing_ok=True)
    log().warning("A new chain begins after %s; earlier versions keep their tags.", book.latest)


@task(name="Reproduce the pipeline with DVC", cache_policy=NO_CACHE, **BUSY)
def reproduce(name: str, interim: bool = False) -> None:
    """``dvc repro``; published rounds must come out as they are. Of an ``interim`` one the ridge head judges alone."""
    rounds.tidy(ledger.read())
    with environment({evaluation.INTERIM: name} if interim else {}):
        run_dvc("repro")
    changed = rounds.rewritten(rounds.done(ledger.read(), published.by_round()))
    if changed:
        raise ValueError(f"Published rounds must never change, got others for {', '.join(changed)}. {CHOICE}")
    log().info("%s is reproduced.", name)


@task(name="Judge training sets by every learner", cache_policy=NO_CACHE, **BUSY)
def judge() -> None:
    """What interim rounds left to the last of their night."""
    run_dvc("repro", "--force", "--single-item", "evaluate")


@task(name="Push data to the DVC remote", cache_policy=NO_CACHE, **OUTSIDE)
def push() -> None:
    """``dvc push`` to the default remote."""
    run_dvc("push")


@task(name="Commit ledger, lock file and metrics", cache_policy=NO_CACHE, **OUTSIDE)
def commit(message: str) -> None:
    """Nothing else; nothing where it is done."""
    if repository.commit(message):
        log().info("Committed: %s", message)


@materialize("diva://curated", by="diva", name="Tag the version", cache_policy=NO_CACHE, **OUTSIDE)
def tag(name: str, version: VersionNumber) -> None:
    """The step that publishes; Prefect shows the set as an asset that rests on its deliveries."""
    evaluated = paths.metrics("evaluate")
    warning = tables.read_json(evaluated).get("warning", "") if evaluated.is_file() else ""
    repository.tag(version.tag, f"Round {name}" + (f"\n\n{warning}" if warning else ""))
    if warning:
        log().warning("%s: %s", version.tag, warning)
    if AssetContext.get():
        add_asset_metadata(artifacts.asset(), {"version": version.tag, "round": name})
    log().info("%s is published as %s.", name, version.tag)


@task(name="Push commits and tags to the git remote", cache_policy=NO_CACHE, **OUTSIDE)
def push_git(remote: str) -> None:
    """Branch and versions, all or nothing."""
    repository.push(remote)


@task(name="Show what the round did", cache_policy=NO_CACHE)
def show(name: str, version: VersionNumber) -> None:
    """Artifacts; for the eyes only, so the round is published before."""
    book = ledger.read()
    artifacts.announce(book, name, version)
    artifacts.show_round(book, name, version)


def run_dvc(*arguments: str) -> None:
    """A DVC command whose log goes to the run's, with progress artifacts."""
    progress, logger = artifacts.Progress(), log()

    def line(text: str) -> None:
        if not NOISE.search(text):
            logger.info(text)
        progress.follow(text)

    dvc(*arguments, log=line)


def publish_round(name: str, git_remote: str | None = None, follows: Callable[[], bool] | None = None) -> VersionNumber:
    """Take an unfinished round to its tag.

    Args:
        name: of the round.
        git_remote: which gets the commit before the tag is set: from then on nobody else can publish one of that name.
        follows: whether another round follows in the same night, once this one is made: it has the errors of every
            learner then; None: none does.
    """
    version = rounds.version(ledger.read(), name, published.by_round())
    reproduce(name, interim=follows is not None)
    if evaluation.is_interim() and not (follows and follows()):
        judge()
        reproduce(name)
    version = rounds.unclaimed(version)
    takedowns.require_absent(name)
    push()
    added = (work.metrics("rounds", name) or {}).get("added", 0)
    removed = len(read_set(name).filter(status="removed", changed_in=name))  # by a score, by people, or taken down
    commit(f"Round {name}: {added} added, {removed} removed ({version.tag})")
    if git_remote:
        push_git(git_remote)
    lineage = artifacts.lineage(ledger.read(), name)
    tag.with_options(assets=[artifacts.asset()], asset_deps=lineage)(name, version)
    if git_remote:
        push_git(git_remote)
    show(name, version, return_state=True)  # what cannot be shown is published all the same
    return version


def unfinished_round() -> str | None:
    """The first round that is not published, alone in the ledger; those planned after it wait their turn.

    It obeys what people have decided since it was planned, also where a run was killed while at work on it.
    """
    stored = ledger.read()
    book: Ledger | None = rounds.obedient(stored, published.by_round())
    if book and book != stored:
        ledger.write(paths.LEDGER, book)
    while book:
        unpublished = rounds.unfinished(book, published.by_round())
        if unpublished:
            return rounds.set_plan_aside(book, unpublished[0]).latest
        book = rounds.next_planned(book)
        if book:
            ledger.write(paths.LEDGER, book)
    rounds.PLANNED.unlink(missing_ok=True)
    return None


def begin(options: Options) -> None:
    """What a run does first, and once; rounds that are not published yet follow params.yaml as it is now."""
    changed = rounds.follow(published.by_round(), work.settings(options))
    if changed:
        log().info("%s, not published yet, follow params.yaml, which was edited since.", ", ".join(changed))
    fetch()
    reviews.enforce()
    if options.stale == "rebase":
        rebase()


def before_rounds(stale: Stale) -> None:
    """What must hold before a round: features up to date and of one kind, published rounds in line with them."""
    prepare(stale)
    reviews.enforce()  # what a delivery brings of content that was taken down
    check_history(stale)


@flow(name="extend-round", retries=0)
def extend(
    budget: Budget = None,
    git_remote: str | None = None,
    stale: Stale = "stop",
    runner: Runner = "threads",
    address: Address = None,
) -> str:
    """Publish one round: the unfinished one, or else a new one."""
    options = Options(budget=budget, git_remote=git_remote, stale=stale, runner=runner, address=address)
    with exclusive(), cluster.workers(runner, address), loaded_libraries():
        work.ready(options)
        begin(options)
        name = unfinished_round()
        before_rounds(stale)
        version = publish_round(name or plan(options), git_remote)
    return version.tag


def run(options: Options) -> str:
    """The flow outside a deployment; returns the version's name."""
    return extend(options.budget, options.git_remote, options.stale, options.runner, options.address)
