"""What is published, what is not yet: the ledger in the work tree is the write-ahead log, a git tag the commit point.

A round of the ledger without a tag ``curated@v<major>.<round>.0`` is unfinished. Numbers of rounds are never used
twice, also after a roll back or a rebase, so a number leads to one tag; where the numbers of a chain jump, or start
anew, a new major version begins.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diva.store import ledger, paths
from diva.store.ledger import Ledger, number
from diva.versions import repository
from diva.versions.contents import sweep
from diva.versions.locks import SCRATCH
from diva.versions.pipeline import locked_stages
from diva.versions.processes import CommandError, git
from diva.versions.published import VersionNumber, by_round, number_of, numbers
from diva.versions.remote import branch, shared, unanswered
from diva.versions.repository import CONTENT, code_commit

logger = logging.getLogger(__name__)
MESSAGE = re.compile(r"\((curated@v\d+\.\d+\.\d+)\)$")  # of the commit that a tag publishes
NAME = re.compile(r"^[br]\d{3,}$")
HISTORY = ("batches", "pool", "rounds", "reviews", "base")  # of the ledger
PLANNED = SCRATCH / "planned.yaml"
Settings = Mapping[str, Mapping[str, Any]]


def unfinished(book: Ledger, published: Mapping[int, VersionNumber]) -> list[str]:
    """Rounds of the ledger that no tag publishes, in their order."""
    return [name for name in ledger.chain(book.rounds, "rounds") if number(name) not in published]


def done(book: Ledger, published: Mapping[int, VersionNumber]) -> list[str]:
    """Rounds of the ledger that a tag publishes, in their order."""
    return [name for name in ledger.chain(book.rounds, "rounds") if number(name) in published]


def version(book: Ledger, name: str, published: Mapping[int, VersionNumber]) -> VersionNumber:
    """The version that a round becomes: the next minor one of its chain, or the first of a new major one."""
    before = number(book.rounds[name].previous)
    if before == number(name) - 1 and (before in published or not published):
        return VersionNumber(published[before].major if before in published else 0, number(name))
    return VersionNumber(max((other.major for other in published.values()), default=-1) + 1, number(name))


def prefix(book: Ledger, name: str | None) -> Ledger:
    """The ledger as it stood after a round (None: before the first): all batches, no later round."""
    content = book.model_dump()
    last = 0 if name is None else number(name)
    rounds = {key: entry for key, entry in content["rounds"].items() if number(key) <= last}
    latest = name or ledger.origin(book, "rounds")
    return ledger.validated({**content, "rounds": rounds, "latest": latest})


def plan(book: Ledger, settings: Settings, published: Mapping[int, VersionNumber]) -> Ledger:
    """The ledger with one more round, on the newest pool index and review, under a number never used before."""
    planned = ledger.plan_round(book, settings, commit=code_commit())
    last = max([number(planned.latest) - 1, *published])
    name = f"r{last + 1:03d}"
    content = planned.model_dump()
    content["rounds"][name] = content["rounds"].pop(planned.latest)
    return ledger.validated({**content, "latest": name})


def obedient(book: Ledger, published: Mapping[int, VersionNumber]) -> Ledger:
    """The ledger whose unpublished rounds obey the newest decisions: what was taken down is in no later version."""
    rounds = done(book, published)
    return ledger.with_newest_review(book, rounds[-1] if rounds else ledger.origin(book, "rounds"))


def following(book: Ledger, published: Mapping[int, VersionNumber], settings: Settings) -> Ledger:
    """The ledger whose unpublished rounds have these settings: what was edited since they were planned counts."""
    content = book.model_dump()
    for name in unfinished(book, published):
        content["rounds"][name]["settings"] = {stage: dict(values) for stage, values in settings.items()}
    return ledger.validated(content)


def outdated(book: Ledger, published: Mapping[int, VersionNumber], settings: Settings) -> list[str]:
    """Unpublished rounds that were planned with other settings."""
    after = following(book, published, settings)
    return [name for name, entry in book.rounds.items() if entry != after.rounds[name]]


def follow(published: Mapping[int, VersionNumber], settings: Settings) -> list[str]:
    """Give unpublished rounds these settings, those that wait too; return the names of the ledger's that had others."""
    names = outdated(ledger.read(), published, settings)
    for path in filter(Path.is_file, (paths.LEDGER, PLANNED)):
        book = ledger.read(path)
        after = following(book, published, settings)
        if after != book:
            ledger.write(path, after)
    return names


def set_plan_aside(book: Ledger, name: str) -> Ledger:
    """The ledger up to an unfinished round, which is published first; the rounds planned after it wait in a file."""
    ahead = prefix(book, name)
    if ahead.rounds != book.rounds:
        SCRATCH.mkdir(parents=True, exist_ok=True)
        ledger.write(PLANNED, book)
        ledger.write(paths.LEDGER, ahead)
    return ahead


def next_planned(book: Ledger) -> Ledger | None:
    """The ledger with the next of the rounds that were set aside; None where none of them follows this ledger."""
    if not PLANNED.is_file():
        return None
    aside, last = ledger.read(PLANNED), number(book.latest)
    later = [name for name in ledger.chain(aside.rounds, "rounds") if number(name) > last]
    if not later or _chosen(aside, last) != _chosen(book, last):
        return None
    content = book.model_dump()
    entry = aside.rounds[later[0]].model_dump() | {"review": ledger.newest_review(book)}
    return ledger.validated({**content, "rounds": {**content["rounds"], later[0]: entry}, "latest": later[0]})


def _chosen(book: Ledger, last: int) -> dict[str, Any]:
    """Core, test set, and what was chosen for each round so far; the decisions it obeys may be newer than its plan."""
    chosen = {name: entry.model_dump(exclude={"review"}) for name, entry in book.rounds.items() if number(name) <= last}
    return chosen | {name: book.batches[name] for name in ("core", "test") if name in book.batches}


def tidy(book: Ledger) -> None:
    """Take away files of rounds and batches that the ledger does not have: some stages read whole folders.

    Such files are of another state of the project; DVC's cache has them. What a killed stage was writing goes, too.
    """
    rounds, links = set(ledger.sets(book)), set(ledger.pools(book))
    batches = {*book.batches}
    expected = dict.fromkeys(("curated", "moments", "rounds", "metrics/rounds", "metrics/curate"), rounds)
    expected |= {"pool": links} | dict.fromkeys(("raw", "features", "truth", "manifests", "quarantine"), batches)
    expected |= dict.fromkeys(("metrics/download", "metrics/extract", "metrics/pool"), batches)
    for folder, names in expected.items():
        of = {path: path.stem.rpartition("-")[2] for path in (paths.DATA / folder).glob("[!.]*")}
        sweep(path for path, name in of.items() if NAME.match(name) and name not in names)
    for pattern in ("*/.*.tmp", "metrics/*/.*.tmp"):
        for file in paths.DATA.glob(pattern):
            if file.is_file():  # a folder holds features to go on from
                file.unlink()


def stale(lock: Mapping[str, Any], rounds: list[str]) -> dict[str, list[str]]:
    """Published rounds whose inputs are no longer those they were made from, with these inputs' paths."""
    made = {out["path"]: out["md5"] for stage in lock.values() for out in stage.get("outs", ())}
    changed: dict[str, list[str]] = {}
    for name in rounds:
        inputs = [dep for verb in ("extend", "curate") for dep in lock.get(f"{verb}@{name}", {}).get("deps", ())]
        other = {dep["path"] for dep in inputs if made.get(dep["path"], dep["md5"]) != dep["md5"]}
        if other:
            changed[name] = sorted(other)
    return changed


def rewritten(rounds: list[str], commit: str = "HEAD") -> list[str]:
    """Published rounds whose set or decisions differ from those committed; there must never be any."""
    before, now = locked_stages(commit), locked_stages()
    keys = [(name, f"{verb}@{name}") for name in rounds for verb in ("extend", "curate")]
    return [name for name, key in keys if key in before and before[key]["outs"] != now.get(key, {}).get("outs")]


def named() -> dict[str, str]:
    """Versions that messages of commits name, each with the newest commit that does."""
    lines = git("log", "--format=%H %s", "--fixed-strings", "--grep=(curated@v").splitlines()
    matches = ((line.partition(" ")[0], MESSAGE.search(line)) for line in reversed(lines))
    return {match[1]: commit for commit, match in matches if match}


def unclaimed(version: VersionNumber) -> VersionNumber:
    """The version, or its next patch where a commit with other content has that name."""
    commits = named()
    while (commit := commits.get(version.tag)) and git("diff", "--name-only", commit, "--", *CONTENT):
        version = version._replace(patch=version.patch + 1)
    return version


def known_versions(book: Ledger) -> dict[int, VersionNumber]:
    """The newest version of each published round, once it is sure that there are no others.

    A round before a published one was published: where its tag is lost, it comes back, at the commit that names it. So
    does that of a compaction or a purge which is what lies here: who made it was killed before the tag.

    Raises:
        ValueError: a shallow clone, a remote that does not answer, versions on a remote that are not here, a lost tag
            that no commit's message names.
    """
    if git("rev-parse", "--is-shallow-repository") == "true":
        raise ValueError("the history must be whole, got a shallow clone; run `git fetch --unshallow --tags`.")
    published = by_round()
    waiting = unfinished(book, published)
    last = max([0, *(number(name) for name in done(book, published))])
    commits = named() if waiting else {}
    doubtful = {name for name in waiting for tag in commits if number_of(tag).minor == number(name)}
    if doubtful or (book.rounds and not published):
        _require_none_elsewhere()
    for name in waiting:
        if number(name) < last:
            _put_back(name, commits)
    newest = _newest(book, by_round())
    if lost := _pushed_without_tag(book, newest):
        _put_back(newest, lost)
    return by_round()


def _newest(book: Ledger, published: Mapping[int, VersionNumber]) -> str:
    """The newest published round, or what a compacted history starts from."""
    rounds = done(book, published)
    return rounds[-1] if rounds else ledger.origin(book, "rounds")


def _pushed_without_tag(book: Ledger, newest: str) -> dict[str, str]:
    """Versions of the newest published round without a tag, each with the commit that names it, and is pushed.

    What they published still stands here; decisions may have come on top.
    """
    tags, target = {version.tag for version in numbers()}, shared()
    beyond = [f"^{branch(target)}"] if target in git("remote").splitlines() and branch(target) else []
    return {
        tag: commit
        for tag, commit in named().items()
        if tag not in tags
        and number_of(tag).minor == number(newest)
        and not git("rev-list", "--max-count=1", commit, "^HEAD")
        and not _changed(book, newest, commit)
        and not (beyond and git("rev-list", "--max-count=1", commit, *beyond))
    }


def _require_none_elsewhere() -> None:
    here = set(git("tag", "--list", "curated@v*").splitlines())
    for remote in git("remote").splitlines():
        try:
            listed = git("ls-remote", "--refs", "--tags", remote, "curated@v*").splitlines()
        except CommandError as error:
            raise ValueError(unanswered(remote, error)) from None
        missing = [tag for tag in (line.rpartition("refs/tags/")[2] for line in listed) if tag not in here]
        if missing:
            raise ValueError(
                f"Versions of {remote} must be known here, got none named {missing[0]}; run `git fetch --tags "
                f"{remote}`."
            )


def _put_back(name: str, commits: Mapping[str, str]) -> None:
    """Tag the commit that published a round."""
    tags = [tag for tag in commits if number_of(tag).minor == number(name)]
    if not tags:
        raise ValueError(
            f"The version of {name} must have its tag, as later ones have theirs, got none, and no commit names it; "
            "put it back (`git tag --annotate curated@v<major>.<round>.0 COMMIT`)."
        )
    repository.tag(tags[-1], f"Round {name}", commits[tags[-1]])
    logger.warning("The tag %s was lost; it is put back, at the commit that published it.", tags[-1])


def require_history(book: Ledger, published: Mapping[int, VersionNumber]) -> None:
    """Refuse a newest tag that points elsewhere, and a ledger whose published entries were changed by hand.

    Raises:
        ValueError: with the tag or the entry, and how to put it back.
    """
    newest = _newest(book, published)
    if number(newest) not in published:
        return
    # after a rollback over a compaction the ledger is that of an earlier version of the same round
    tags = [version.tag for version in reversed(numbers()) if version.minor == number(newest)]
    changed = [_changed(book, newest, tag) for tag in tags]
    if all(changed):
        raise ValueError(
            f"{paths.LEDGER}:{changed[0]} must be as {tags[0]} published it: a published entry is history. Put it "
            f"back: `git checkout {tags[0]} -- {paths.LEDGER}`."
        )


def _changed(book: Ledger, newest: str, tag: str) -> str:
    """The first entry of the ledger that a version published otherwise; "" where there is none."""
    text = git("show", f"{tag}:./{paths.LEDGER.as_posix()}", check=False)
    if text + "\n" == paths.LEDGER.read_text(encoding="utf-8"):
        return ""
    stored = ledger.parse(text, f"{paths.LEDGER} of {tag}")
    if stored.latest != newest:
        raise ValueError(
            f"{tag} must point to the commit that published {newest}, got one that published {stored.latest}. Put it "
            f"back (`git fetch --force --tags`, or `git tag --force --annotate {tag} COMMIT`)."
        )
    for key in HISTORY:
        before, now = getattr(stored, key), getattr(book, key)
        for name, entry in before.items():
            if now.get(name) != entry:
                return f"{key}.{name}"
    return ""
