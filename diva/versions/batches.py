"""A further delivery to pool, core or test set, and what it does to rounds that are published.

A batch to the pool leaves published rounds as they are: the next round draws from it. A larger core or test set makes
anew what rounds rest on (fit, scores, the first set), and with it every round, under a new major version;
published versions keep their tags and their data.
"""

from typing import Literal

from diva.store import ledger
from diva.versions import published, rounds

Destination = Literal["pool", "core", "test"]
SETS = {"core": "core", "test": "test set"}


def effect(book: ledger.Ledger, to: Destination) -> str:
    """What a delivery to this set does to the rounds there are, in words."""
    if to == "pool":
        return "the next round draws from it; published rounds stay as they are"
    if not rounds.done(book, published.by_round()):
        return "no round is published yet, so all of them are made with it"
    major = max(number.major for number in published.numbers()) + 1
    return (
        f"the {SETS[to]} grows, so a new chain of rounds begins under a new major version, v{major}; fit, scores and "
        f"features of the {SETS[to]} are made anew; published versions keep their tags and their data"
    )


def added(book: ledger.Ledger, to: Destination, delivery: ledger.Batch) -> ledger.Ledger:
    """The ledger with one more delivery to this set.

    Raises:
        ValueError: its content was delivered before, or the history of the core or the test set is compacted.
    """
    same = ledger.delivered(book, delivery.checksum)
    if same:
        raise ValueError(f"a delivery must bring new content, got that of {same}.")
    if to == "pool":
        return ledger.accept(book, None, delivery.source, delivery.options, delivery.checksum)
    for base in book.base.values():
        raise ValueError(
            f"a compacted history must keep the core and the test set it was made with; `diva rollback {base.version}` "
            f"goes back to where the {SETS[to]} can grow."
        )
    grown = ledger.supplement(book, to, delivery.source, delivery.options, delivery.checksum)
    if not rounds.done(book, published.by_round()):
        return grown
    return rounds.prefix(grown, None)
