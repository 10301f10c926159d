"""Work of several operators put together: ``in_step`` around a command, ``sync`` where two have diverged.

What the remote has published stays as it is. What is own and not there comes on top: takedowns and decisions, accepted
batches under the next names, a planned round for each own one. Own commits stay in the history.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import polars as pl

from diva.ingest import annotations
from diva.store import decisions, ledger, paths, tables, test_decisions
from diva.store.decisions import FORGOTTEN_ROW
from diva.store.ledger import Ledger, number
from diva.text.words import amount
from diva.versions import contents, operations, published, remote, repository, reviews, rounds, takedowns
from diva.versions.cache import LOCK
from diva.versions.locks import exclusive
from diva.versions.pipeline import dvc, repair
from diva.versions.processes import CommandError, git
from diva.versions.stored_files import mapping

logger = logging.getLogger(__name__)


class Own(NamedTuple):
    """What there is here and not on the remote: batches, settings of rounds, decisions of people, takedowns.

    ``of_test`` are decisions on the test set.
    """

    batches: list[ledger.Batch]
    rounds: list[dict[str, dict[str, Any]]]
    decisions: pl.DataFrame
    takedowns: pl.DataFrame
    of_test: pl.DataFrame


@contextmanager
def in_step(strict: bool = False) -> Iterator[list[str]]:
    """The lock of a run, with what others published; what is committed within the block is pushed after it.

    Yields:
        what is to be said, a sentence each, complete after the block.

    Args:
        strict: whether nothing is done where that cannot be; a decision of people stands all the same.
    """
    notes: list[str] = []
    with exclusive():
        operations.settle()
        target = remote.shared()
        if target:
            try:
                remote.catch_up(target)
            except ValueError as error:
                if strict:
                    raise
                logger.warning("%s", error)
        try:
            remote.bring()
        except CommandError as error:
            logger.warning("%s", error)
        before = git("rev-parse", "HEAD")
        yield notes
        if git("rev-parse", "HEAD") != before:
            notes += _pushed(target)


def _half_done() -> bool:
    """Whether the ledger names what no night has made yet: nobody else could make it."""
    book, text = ledger.read(), git("show", f"HEAD:{LOCK}", check=False)
    stages = mapping(text)["stages"] if text else {}
    if rounds.unfinished(book, published.by_round()) or any(f"extract@{name}" not in stages for name in book.pool):
        return True
    entries = mapping(ledger.text(book))["batches"]  # of a core or test set that has grown, the lock has an older one
    return any(_downloaded(stages, name) != entry for name, entry in entries.items())


def _downloaded(stages: Mapping[str, Any], name: str) -> Any:
    """The entry that a batch was made with, by the lock's stages; None where it was not made."""
    params = stages.get(f"download@{name}", {}).get("params", {})
    return params.get(paths.LEDGER.as_posix(), {}).get(f"batches.{name}")


def _pushed(target: str) -> list[str]:
    elsewhere = target or " ".join(git("remote").split()[:1])
    by_hand = f"`dvc push` and `git push --follow-tags {elsewhere} HEAD` bring it to other clones"
    if not target:
        return [f"here alone; {by_hand}"] if elsewhere else []
    try:
        if _half_done():
            raise ValueError("A night is half done here.")
        dvc("push")
        repository.push(target)
    except ValueError as error:
        logger.warning("%s", error)
        return [f"not yet: the next night with --git-remote {target} does so, or `diva sync`"]
    return [f"to {target}"]


def sync(target: str) -> list[str]:
    """Put what is own on top of what the remote has; what was done, a sentence each.

    Raises:
        ValueError: no answer, or programs that both changed; all is as before then, but that ledger, lock and metrics
            are committed.
    """
    operations.settle()
    moved = remote.fetch(target)
    theirs = remote.branch(target)
    if not theirs or not git("rev-list", "--max-count=1", f"HEAD..{theirs}"):
        _join(target)
        remote.bring()
        return [f"nothing on {target} is missing here"]
    repair()
    ledger.read()  # what an editor or a killed process broke is not committed
    repository.commit("Keep what lies here, before it is put on top of what others published")
    repository.require_clean("before it is put on top of what others published")
    if not git("rev-list", "--max-count=1", f"{theirs}..HEAD"):
        _join(target)
        remote.catch_up(target)
        remote.bring()
        return [f"caught up with {target}"]
    before, theirs = git("rev-parse", "HEAD", theirs).split()
    own = _own(git("merge-base", before, theirs))
    with operations.recorded(f"Put what is own on top of {target}", theirs):
        _merge(target, theirs)
        dvc("pull", "--force")
        contents.sweep_former(before, theirs)
        _join(target)
        own = _lacking(own)
        book = _on_top(own, target)
        message = f"Put what is own on top of {target}"
        # but for batches and rounds, which nobody else can make: they go with the version that a night publishes
        git(*repository.author(), "commit", "--quiet", "--no-verify", "--message", message)
    said = [f"{name} is what {target} has; what had that name here is made again" for name in moved]
    pairs = ((own.batches, "batch"), (own.rounds, "round planned"), (own.decisions, "decision"))
    counts = ", ".join(amount(len(part), noun) for part, noun in pairs)
    return [*said, f"on top of {target}: {counts}; the next night publishes from {book.latest}"]


def _join(target: str) -> None:
    """From here on, the remote's tags are this clone's, and commands push to it."""
    remote.take_tags(target)
    remote.share(target)


def _own(base: str) -> Own:
    """What the last commit has that their common past lacks."""
    book, past = ledger.read(), ledger.parse(git("show", f"{base}:./{paths.LEDGER.as_posix()}"))
    grown = [name for name in ("core", "test") if book.batches.get(name) != past.batches.get(name)]
    if grown:
        raise ValueError(
            f"{paths.LEDGER}:batches.{grown[0]} must be what both had before, got another here: take it back (`git "
            f"checkout {base[:12]} -- {paths.LEDGER}`, and commit that), then `diva sync`, then add to it once more."
        )
    before = {(batch.source, batch.checksum) for batch in _batches(past)}
    batches = [batch for batch in _batches(book) if (batch.source, batch.checksum) not in before]
    last = max(map(number, [past.latest, *past.rounds]))
    settings = [book.rounds[name].settings for name in ledger.chain(book.rounds, "rounds") if number(name) > last]
    return Own(batches, settings, _decisions(book, past, base), takedowns.read(), _of_test(base))


def _batches(book: Ledger) -> list[ledger.Batch]:
    """Of the pool, those of a compacted past first."""
    took = [entry for base in book.base.values() for entry in base.batches.values()]
    return [*took, *(book.batches[name] for name in ledger.chain(book.pool, "pool"))]


def _decisions(book: Ledger, past: Ledger, base: str) -> pl.DataFrame:
    """Decisions of people since then; after a rollback, names of reviews are used again."""
    (before, old), (now, new) = ((name := ledger.newest_review(of), of.reviews.get(name)) for of in (past, book))
    stored = tables.empty(decisions.SCHEMA)
    if (now, new) == (before, old):
        return stored
    with suppress(ValueError):  # there are none, or they are nowhere
        file = contents.fetch(published.Version(f"commit {base[:12]}", base, ""), paths.review(before))
        stored = tables.read(file, decisions.SCHEMA)
    return reviews.read(book).join(stored, on=list(decisions.SCHEMA), how="anti", nulls_equal=True)


def _of_test(base: str) -> pl.DataFrame:
    """Decisions on the test set since then."""
    text = git("show", f"{base}:./{test_decisions.FILE.as_posix()}", check=False)
    stored = pl.read_csv(text.encode(), infer_schema=False) if text else tables.empty(decisions.SCHEMA)
    return test_decisions.read().join(stored, on=["sample_id", "decision", "label"], how="anti", nulls_equal=True)


def _merge(target: str, theirs: str) -> None:
    """Both histories; programs of both, ledger, lock and metrics of theirs. ValueError where programs clash."""
    git(*repository.author(), "merge", "--quiet", "--no-ff", "--no-commit", theirs, check=False)
    git("rev-parse", "--verify", "MERGE_HEAD")
    git("restore", f"--source={theirs}", "--staged", "--worktree", "--", *repository.CONTENT)
    clashes = git("diff", "--name-only", "--diff-filter=U").splitlines()
    if clashes:
        raise ValueError(
            f"{clashes[0]} must be put together by hand, as both changed it ({len(clashes)} such files); nothing was "
            f"changed. Take {target}'s with `git checkout {theirs} -- {clashes[0]}` and commit, then `diva sync`."
        )


def _lacking(own: Own) -> Own:
    """What the remote lacks: where its rounds have drawn from the same deliveries, own ones would add nothing."""
    book = ledger.read()
    there = {(batch.source, batch.checksum) for batch in _batches(book)}
    batches = [
        batch
        for batch in own.batches
        if (batch.source, batch.checksum) not in there and not ledger.delivered(book, batch.checksum)
    ]
    return own._replace(batches=batches, rounds=own.rounds if batches or not own.batches else [])


def _on_top(own: Own, target: str) -> Ledger:
    """The ledger that the remote has, with what is own; decisions are staged, batches and rounds are not."""
    book = _decided(ledger.read(), own, target)
    records = [batch.source for batch in own.batches if annotations.is_record(batch.source)]
    if records:  # what these batches are made of is in this clone's commits alone
        git("checkout", "HEAD", "--", *records)
    git("add", "--all", "--", *repository.CONTENT)
    for batch in own.batches:
        book = ledger.accept(book, None, batch.source, batch.options, batch.checksum)
    for settings in own.rounds:
        book = rounds.plan(book, settings, published.by_round())
    ledger.write(paths.LEDGER, book)
    return book


def _decided(book: Ledger, own: Own, target: str) -> Ledger:
    """The ledger with own takedowns and decisions; no decision lifts a takedown."""
    takedowns.add(own.takedowns)
    reviews.keep_of_test(own.of_test)
    gone = {*takedowns.read()["sample_id"], *reviews.read(book).filter(FORGOTTEN_ROW)["sample_id"]}
    stand = reviews.fresh(book, own.decisions.filter(FORGOTTEN_ROW | ~pl.col("sample_id").is_in(list(gone))))
    if len(stand):
        book, path = reviews.write(book, stand, f"decisions on top of {target}")
        dvc("add", path.as_posix())
        ledger.write(paths.LEDGER, book)
    return book
