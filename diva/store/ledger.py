"""The ledger: every batch and every round there ever was, in three chains; committed to git, read by ``dvc.yaml``.

    batches  one immutable delivery each: core, test, b001, b002, …
    pool     b001 after b000 (empty), b002 after b001, …: each link adds its batch to the pool's index
    rounds   r001 after r000 (the core), …: each entry names all that it depends on

Beside them: ``reviews``, the versions of people's decisions, and ``base``, empty until ``diva compact`` puts there the
round that a shortened history starts from (its data lie in data/base).

Everything here is a value: functions return a new ledger, ``write`` puts it on disk.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML

from diva.store import atomic, documents, paths
from diva.store.chains import (
    ORIGIN,
    REVIEW_ORIGIN,
    Base,
    Batch,
    Entry,
    Ledger,
    Link,
    Review,
    Round,
    chain,
    number,
    origin,
)

__all__ = ["ORIGIN", "REVIEW_ORIGIN", "Base", "Batch", "Ledger", "Link", "Review", "Round", "chain", "number", "origin"]

HEADER = """\
# Every batch and every round, in order: written by diva, read by dvc.yaml, kept in git. A published round is history.
"""
E = TypeVar("E", bound=Entry)


def order(book: Ledger) -> list[str]:
    """All batches: core, test, then the pool's in the order of their chain."""
    return sorted(book.batches, key=number)


def upcoming(entries: Iterable[str], prefix: str) -> str:
    """The name that follows the newest of ``entries`` with this prefix: b001 where there is none."""
    newest = max((number(name) for name in entries if name.startswith(prefix)), default=0)
    return f"{prefix}{newest + 1:03d}"


def newest_pool(book: Ledger) -> str:
    """The newest index of the pool."""
    return max(book.pool, key=number, default=origin(book, "pool"))


def newest_review(book: Ledger) -> str:
    """The newest version of people's decisions, whether a round has obeyed it yet or not."""
    return max([obeyed_review(book), *book.reviews], key=number)


def obeyed_review(book: Ledger) -> str:
    """The version of people's decisions that the newest set obeys; an older one than the newest asks for a round."""
    return book.rounds[book.latest].review if book.latest in book.rounds else origin(book, "review")


def sets(book: Ledger) -> list[str]:
    """All curated sets there are: the core's, the base's where there is one, then a set per round."""
    return [ORIGIN["rounds"], *book.base, *chain(book.rounds, "rounds")]


def pools(book: Ledger) -> list[str]:
    """All indices of the pool there are: the empty one, the base's where there is one, then one per batch."""
    return [ORIGIN["pool"], *(base.pool for base in book.base.values()), *chain(book.pool, "pool")]


def newest_stored(names: Sequence[str], path: Callable[[str], Path]) -> Path:
    """The file of the newest of ``names`` that lies here: what the ledger plans is not made yet."""
    return next(filter(Path.is_file, map(path, reversed(names))), path(names[-1]))


def truths(book: Ledger) -> list[str]:
    """Names under which data/truth has a file: every batch, and the base for those that it took in."""
    return [*order(book), *(["base"] if book.base else [])]


def batch(book: Ledger, name: str) -> Batch:
    """The entry of a batch; ValueError where there is none."""
    return _entry(book.batches, name, "batches")


def link(book: Ledger, name: str) -> Link:
    """The entry of a pool link; ValueError where there is none."""
    return _entry(book.pool, name, "pool")


def round_(book: Ledger, name: str) -> Round:
    """The entry of a round; ValueError where there is none."""
    return _entry(book.rounds, name, "rounds")


def _entry(entries: Mapping[str, E], name: str, key: str) -> E:
    if name not in entries:
        raise ValueError(f"{paths.LEDGER}:{key} must have an entry {name}, got {', '.join(entries) or 'none'}.")
    return entries[name]


def delivered(book: Ledger, checksum: str) -> str | None:
    """The batch that brought this very delivery, if one did."""
    same = [name for name, entry in deliveries(book) if entry.checksum == checksum != "none"]
    return min(same, key=number, default=None)


def deliveries(book: Ledger) -> list[tuple[str, Batch]]:
    """Every delivery there ever was, with the name of its batch; those that a base took in come first."""
    batches = {name: entry for base in book.base.values() for name, entry in base.batches.items()} | book.batches
    return [(name, entry) for name, batch in batches.items() for entry in batch.deliveries]


def accept(book: Ledger, name: str | None, source: str, options: Mapping[str, Any], checksum: str) -> Ledger:
    """The ledger with one more batch; None names it as the pool's next, and a pool batch becomes a link of the chain.

    Raises:
        ValueError: a batch of that name is there already (batches never change), or the name is not the next.
    """
    following = upcoming([newest_pool(book)], "b")
    name = name or following
    if name in book.batches:
        raise ValueError(f"name must be that of a new batch, {following}, got {name}, which exists.")
    entry = {"source": source, "checksum": checksum, "options": dict(options)}
    links = {name: {"previous": newest_pool(book)}} if name.startswith("b") else {}
    content = book.model_dump()
    return validated({**content, "batches": {**content["batches"], name: entry}, "pool": {**content["pool"], **links}})


def supplement(book: Ledger, name: str, source: str, options: Mapping[str, Any], checksum: str) -> Ledger:
    """The ledger whose core or test set holds one more delivery; the first of a test set takes the place of none."""
    delivery = Batch(source=source, checksum=checksum, options=dict(options))
    old = book.batches.get(name)
    entry = (
        delivery
        if old is None or old.source == "none"
        else old.model_copy(update={"additions": [*old.additions, delivery]})
    )
    content = book.model_dump()
    return validated({**content, "batches": {**content["batches"], name: entry.model_dump()}})


def plan_round(
    book: Ledger,
    settings: Mapping[str, Mapping[str, Any]],
    *,
    pool: str | None = None,
    review: str | None = None,
    commit: str = "none",
) -> Ledger:
    """The ledger with one more round.

    Args:
        book: the ledger so far.
        settings: by stage, as the round will keep them: {"extend": {…}, "curate": {…}}.
        pool: index of the pool that it draws from; None for the newest.
        review: version of the people's decisions; None for the newest.
        commit: the code's, or "none".
    """
    name = upcoming([book.latest], "r")
    entry = {
        "previous": book.latest,
        "pool": pool or newest_pool(book),
        "review": review or newest_review(book),
        "settings": {stage: dict(section) for stage, section in settings.items()},
        "commit": commit,
    }
    content = book.model_dump()
    return validated({**content, "rounds": {**content["rounds"], name: entry}, "latest": name})


def with_newest_review(book: Ledger, after: str) -> Ledger:
    """The ledger whose rounds after this one, which no version has yet, obey the newest version of people's decisions.

    What was done of them so far has to be done again then, as their entries are others.
    """
    content, newest = book.model_dump(), newest_review(book)
    for name in chain(book.rounds, "rounds"):
        if number(name) > number(after):
            content["rounds"][name]["review"] = newest
    return validated(content)


def plan_review(book: Ledger, what: str, checksum: str) -> Ledger:
    """The ledger with one more version of people's decisions, which the next round obeys."""
    newest = max(book.reviews, key=number, default=REVIEW_ORIGIN)
    entry = {"previous": newest, "what": what, "checksum": checksum}
    content = book.model_dump()
    return validated({**content, "reviews": {**content["reviews"], upcoming([newest], "v"): entry}})


def compacted(book: Ledger, version: str) -> Ledger:
    """The ledger whose chains start at the newest set: rounds and pool batches so far become its base.

    Batches that no round has drawn from yet are taken into the base there is; without one they need a round.
    """
    if not (book.rounds or (book.base and book.pool)):
        raise ValueError(f"rounds must hold some to compact, got none since {origin(book, 'rounds')}.")
    earlier = {name: entry.model_dump() for base in book.base.values() for name, entry in base.batches.items()}
    content = book.model_dump()
    took = {name: entry for name, entry in content["batches"].items() if name.startswith("b")}
    base = {
        "pool": newest_pool(book),
        "review": obeyed_review(book),
        "version": version,
        "batches": {**earlier, **took},
    }
    remaining = {name: entry for name, entry in content["batches"].items() if name not in took}
    return validated({**content, "batches": remaining, "pool": {}, "rounds": {}, "base": {book.latest: base}})


def start(core: Batch) -> Ledger:
    """A ledger of a core and nothing else."""
    return validated({"batches": {"core": core.model_dump()}, "pool": {}, "rounds": {}, "latest": ORIGIN["rounds"]})


def validated(content: Any, where: str = str(paths.LEDGER)) -> Ledger:
    """``content`` as a ledger; ValueError that names key, expected and got, a line per mistake."""
    try:
        return Ledger.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(documents.explain(error, content, where, ": "))) from None


def read(path: Path = paths.LEDGER) -> Ledger:
    """The ledger at ``path``; ValueError where it is missing, no YAML, or not valid."""
    return parse(documents.text_of(path), str(path))


def parse(content: str, where: str = str(paths.LEDGER)) -> Ledger:
    """The ledger that a text holds; ValueError where it is no YAML, or not valid."""
    try:
        read = YAML(typ="safe", pure=True).load(content)
    except Exception as error:  # beside its own, ruamel lets those of every constructor through
        raise ValueError(f"{where} must be readable YAML: {str(error) or type(error).__name__}") from None
    return validated(read, where)


def text(book: Ledger) -> str:
    """The ledger as YAML 1.2 (as DVC reads it), the same text for the same ledger."""
    ordered = {
        "batches": {name: book.batches[name].model_dump() for name in order(book)},
        "pool": {name: book.pool[name].model_dump() for name in chain(book.pool, "pool")},
        "rounds": {name: book.rounds[name].model_dump() for name in chain(book.rounds, "rounds")},
        "reviews": {name: book.reviews[name].model_dump() for name in chain(book.reviews, "reviews")},
        "base": {name: entry.model_dump() for name, entry in book.base.items()},
        "latest": book.latest,
    }
    return HEADER + documents.dumped(ordered)


def write(path: Path, book: Ledger) -> None:
    """Write the ledger whole or not at all."""
    atomic.write_text(path, text(book))
