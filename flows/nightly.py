"""The nightly run: take in deliveries, publish rounds until no candidate is left, without anybody looking on.

    unfinished rounds → new deliveries → rounds until no candidate, budget or max_rounds is left → publish

``python -m flows.nightly`` looks for work before it imports Prefect, so a night without work takes a second or two.
"""

if __name__ == "__main__":
    from flows import terminal

    terminal.nightly()

import sys

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from diva.report import run_metrics, summary
from diva.store import evaluation, ledger, paths
from diva.versions import labelling, repository, takedowns
from diva.versions.locks import RunningError, exclusive
from diva.versions.pipeline import loaded_libraries
from diva.versions.rounds import next_planned
from flows import artifacts, cluster, credentials, deliveries, extend, work
from flows.options import Address, Budget, Options, Rounds, Runner, Secrets, Stale, Watch


@task(name="Look for work", cache_policy=NO_CACHE)
def look(options: Options) -> list[str]:
    """Why this run is needed."""
    return work.reasons(options, extend.log().warning)


@task(name="Bring a delivery", cache_policy=NO_CACHE, **extend.OUTSIDE)
def bring(watch: str, arrival: deliveries.Arrival) -> str:
    """Copy it here where it lies elsewhere; why it must wait, or ""."""
    return deliveries.Watched(watch).bring(arrival)


@task(name="Accept deliveries as batches", cache_policy=NO_CACHE)
def accept(arrivals: list[deliveries.Arrival]) -> list[str]:
    """Write them into the ledger; what became of each."""
    outcomes = []
    for arrival in arrivals:
        verdict = deliveries.judge(ledger.read(), arrival)
        if verdict.book and verdict.record is not None:
            labelling.publish(verdict.book, verdict.record)
        elif verdict.book:
            ledger.write(paths.LEDGER, verdict.book)
        extend.log().info("Delivery %s.", verdict.outcome)
        outcomes.append(verdict.outcome)
    artifacts.show_deliveries(outcomes)
    return outcomes


def take_in(watch: str) -> bool:
    """New deliveries become batches of the ledger; whether there were any."""
    fresh = deliveries.new(ledger.read(), watch)
    waiting = {arrival.name: bring(watch, arrival) for arrival in fresh}
    here = [arrival for arrival in fresh if not waiting[arrival.name]]
    if here:
        accept(here)
    return bool(here)


def rounds(options: Options) -> list[str]:
    """Publish unfinished and planned rounds, take in deliveries, publish new rounds; the tags."""
    done: list[str] = []
    most = options.max_rounds or sys.maxsize

    def follows() -> bool:
        book = ledger.read()
        return bool(next_planned(book)) or work.more_rounds(book, options)

    def publish(name: str) -> None:
        last = len(done) + 1 >= most
        done.append(extend.publish_round(name, options.git_remote, None if last else follows).tag)

    extend.begin(options)
    resumes = extend.unfinished_round() is not None
    if resumes:
        extend.before_rounds(options.stale)
    while len(done) < most and (name := extend.unfinished_round()):
        publish(name)
    if extend.unfinished_round():
        return done
    if take_in(options.watch) or not resumes:
        extend.before_rounds(options.stale)
    while len(done) < most and work.more_rounds(ledger.read(), options):
        publish(extend.plan(options))
    return done


def publish_rest() -> None:
    """What no round published (batches that none drew from yet, a roll back) is pushed and committed; without a tag."""
    interim = evaluation.is_interim()  # of a night that was cut short
    if not extend.unfinished_round() and (interim or repository.uncommitted(*repository.CONTENT)):
        if interim:
            extend.judge()
        extend.reproduce("the newest set")
        takedowns.require_absent(ledger.read().latest)
        extend.push()
        extend.commit(f"Keep what lies here after {ledger.read().latest}")


@flow(name="nightly-curation", retries=0)
def nightly(
    watch: Watch = "deliveries",
    max_rounds: Rounds = None,
    budget: Budget = None,
    git_remote: str | None = None,
    stale: Stale = "stop",
    runner: Runner = "threads",
    address: Address = None,
    secrets: Secrets | None = None,
) -> State:
    """Take in deliveries and publish rounds.

    Args:
        watch: folder (or fsspec URL) in which deliveries arrive.
        max_rounds: rounds this run publishes at most; none: until no candidate is left.
        budget: samples added in all rounds together; none for that of params.yaml.
        git_remote: where to push commits and tags; none to keep them here.
        stale: where a published round no longer follows from its inputs: stop, keep it, or rebase.
        runner: where sums over rows are computed: threads of this machine, or a dask cluster.
        address: of the cluster's scheduler; none starts a cluster on this machine for the time of the run.
        secrets: names of Secret blocks, by the variable of the environment that gets the value for the run.
    """
    options = Options(
        watch=watch, max_rounds=max_rounds, budget=budget, git_remote=git_remote, stale=stale,
        runner=runner, address=address, secrets=secrets or {},
    )  # fmt: skip
    try:
        with exclusive(), credentials.provided(options.secrets):
            reasons = look(options)
            if not reasons:
                return Completed(name="NothingToDo", message="Nothing to do.")
            with cluster.workers(runner, address), loaded_libraries():
                done = rounds(options)
                publish_rest()
            for sentence in summary.sentences(run_metrics.read()) if done else ():
                extend.log().info("%s", sentence)
            if git_remote and repository.unpushed(git_remote):
                extend.push()
                extend.push_git(git_remote)
    except RunningError as error:
        return Completed(name="Skipped", message=str(error))
    return Completed(message=f"Published: {', '.join(done) or 'no new version'}.")


def run(options: Options) -> str:
    """The flow outside a deployment: what it says at its end; the error of a failed run is raised."""
    state = nightly(**options.model_dump(), return_state=True)
    state.result(raise_on_failure=True)
    return state.message or ""
