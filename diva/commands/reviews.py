"""Commands about people's decisions: ``forget``, ``relabel``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diva.commands import console

if TYPE_CHECKING:
    import polars as pl


def forget(
    sample_id: Annotated[list[str] | None, typer.Argument(metavar="ID…")] = None,
    why: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="List what was taken down.")] = False,
) -> None:
    """Take samples down: gone from every later version, whatever scores or later reviews say."""
    from diva.store import ledger, reviews

    book = ledger.read()
    if listed or not sample_id:
        gone = reviews.forgotten(book)
        console.show([("taken down", f"{len(gone)} samples"), *((name, note) for name, note in gone.iter_rows())])
        return
    _decide(reviews.forget(book, sample_id, why), "forget")


def relabel(file: Annotated[Path, typer.Argument(metavar="FILE", help=".csv or .parquet: sample_id, label.")]) -> None:
    """Correct labels of accepted batches: a new entry of the ledger, which the next round obeys above any score."""
    from diva.store import ledger, reviews

    _decide(reviews.relabel(ledger.read(), file), f"relabel {file.name}")


def _decide(decisions: "pl.DataFrame", what: str) -> None:
    """Put decisions of people into the ledger as its newest review, and commit that."""
    from diva.store import reviews
    from diva.store import versions as store

    if decisions.is_empty():
        console.show([("unchanged", "all of these were taken down before")])
        return
    with store.exclusive():
        name = reviews.publish(decisions, what)
    told = f"{len(decisions)} decisions; the next round obeys them (python -m flows.nightly)"
    console.show([("review", f"{name}, {what}: {told}")])
