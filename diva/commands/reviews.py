"""Commands about people's decisions and labels: ``review``, ``forget``, ``relabel``, ``label``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diva.commands import console, params
from diva.text.words import amount

if TYPE_CHECKING:
    import polars as pl

    from diva.store.ledger import Ledger

NEXT = "the next round obeys them (diva night)"
NEXT_ERROR = "the error by them stands beside that by the given labels after the next run; nothing of it trains"
NEXT_BATCH = "the next round draws from them (diva night)"


def review(
    apply: Annotated[Path | None, typer.Option(metavar="FILE", help="Publish the decisions of a review.csv.")] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show the report here, and save what is decided in it.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="With --serve; any that is free, unless given.")] = 0,
    finish: Annotated[bool, typer.Option("--finish", help="Publish the decisions that --serve saved.")] = False,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Who decides; git's user.name, unless given.")
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="List all published decisions, the newest first.")] = False,
) -> None:
    """Look at the report and decide: accept, relabel or reject; the next round obeys above any score.

    Decisions on samples of the test set stay apart, and train nothing: the error by them is told beside the other.

    Without an option: what was decided so far, by whom, and how often two people agree. FILE has the columns sample_id,
    decision, label, note, as the report exports it, and perhaps reviewer.
    """
    if sum((apply is not None, serve, finish, history)) > 1:
        raise typer.BadParameter("--apply, --serve, --finish and --history are asked for one at a time.")
    if serve:
        _serve(port, name)
    elif apply or finish:
        _apply(apply, name)
    elif history:
        _history()
    else:
        _standing()


def _serve(port: int, name: str | None) -> None:
    """Serve until Ctrl-C."""
    from diva.review import server
    from diva.versions import reviews

    def say(address: str) -> None:
        print(address, flush=True)  # whole, however narrow the terminal is
        print("Each decision is saved when it is made; Ctrl-C ends.", flush=True)

    waiting = server.serve(port, say, reviews.reviewer(name))
    _waiting(waiting)


def _apply(file: Path | None, name: str | None) -> None:
    """Publish the decisions of a file; None for those that the server saved, which then wait no more."""
    from diva.review import pending
    from diva.store import ledger, paths
    from diva.versions import reviews, sync

    if file is None and not paths.PENDING.exists():
        raise ValueError("--finish must have decisions to publish, got none; `diva review --serve` saves them.")
    with pending.one_review(), sync.in_step() as notes:
        book = ledger.read()
        if file is not None:
            _decide(reviews.reviewed(book, file, name), f"review {file.name}")
        else:
            said, gone = pending.overtaken(paths.PENDING, reviews.reviewable(book))
            if len(said):
                _decide(reviews.fresh(book, reviews.signed(said, name)), "review")
            paths.PENDING.unlink()
            if gone:
                decisions = amount(len(gone), "decision")
                console.show([("set aside", f"{decisions} on samples taken down since: {', '.join(gone)}")])
    console.show([("pushed", note) for note in notes])


def _history() -> None:
    """All published decisions with their versions, the newest first, and last those on the test set that stand."""
    import polars as pl

    from diva.store import ledger, paths, test_decisions
    from diva.text.words import NOTHING, Column, Row, Table
    from diva.versions import reviews

    names = ("version", "sample_id", "decision", "label", "reviewer", "note")
    of_test = test_decisions.read().with_columns(version=pl.lit("test set"))
    rows = pl.concat([some.select(names) for some in (reviews.history(ledger.read()).reverse(), of_test)])
    titles = tuple(Column(name.replace("_id", ""), number=False) for name in names)
    facts = [("test set", f"git log -p {paths.TEST_DECISIONS} has earlier ones")] if len(of_test) else []
    console.show(facts, [Table("Decisions", titles, tuple(map(Row, rows.fill_null(NOTHING).iter_rows())))])


def _standing() -> None:
    """What was decided so far, by whom, what is undecided, and what becomes of it next."""
    from diva.report import reviewed
    from diva.review.pending import Pending
    from diva.store import ledger, paths, test_decisions
    from diva.versions import reviews

    book = ledger.read()
    said, of_test = reviews.read(book), test_decisions.read()
    counts = _counts(said)
    newest, obeyed, history = ledger.newest_review(book), ledger.obeyed_review(book), reviews.history(book)
    tables = [table for table in (reviewed.reviewers(history), reviewed.agreement(history)) if table.rows]
    console.show(
        [
            ("published", f"{newest}: {counts}" if counts else "nothing was decided so far"),
            ("obeyed", f"{book.latest} obeys {obeyed}" + (f"; {NEXT}" if newest != obeyed else "")),
            *([("test set", f"{paths.TEST_DECISIONS}: {_counts(of_test)}")] if len(of_test) else []),
            *_open(book, said),
        ],
        tables,
    )
    _waiting(len(Pending(lambda: reviews.reviewable(book))) if paths.PENDING.exists() else 0)


def _counts(said: "pl.DataFrame") -> str:
    """How many of each decision."""
    counted = said.group_by("decision").len().sort("decision").iter_rows()
    return ", ".join(f"{number:,} {name}" for name, number in counted)


def _open(book: "Ledger", said: "pl.DataFrame") -> list[tuple[str, str]]:
    """How many labels are called wrong that nobody decided on, where the newest set is here."""
    from diva.store import curated, paths

    if not paths.curated(book.latest).is_file():
        return []
    called = curated.read(book.latest).filter(curated.called_wrong())
    undecided = called.join(said, on="sample_id", how="anti")
    return [("undecided", f"{len(undecided):,} of {amount(len(called), 'label')} called wrong")]


def _waiting(number: int) -> None:
    if number:
        console.show([("waiting", f"{amount(number, 'decision')}; publish them: diva review --finish")])


def forget(
    sample_id: Annotated[list[str] | None, typer.Argument(metavar="ID|FILE…")] = None,
    why: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="List what was taken down.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also rewrite what the project holds of all takedowns: a new major version.")
    ] = False,
) -> None:
    """Take samples down: gone from every version published from now on, whatever scores or later reviews say.

    Rounds that are planned or half done are made again without them, and the same content under other ids goes with
    them, whenever it comes. Versions published before keep what they hold; where samples remain is listed.

    A purge, with or without IDs, takes all that was taken down out of data/ and of DVC's cache, earlier versions' too,
    which then are whole on DVC's remote alone; it says what that, git and other clones still have.
    """
    from diva.store import ledger
    from diva.versions import reviews, sync

    if listed or not (sample_id or purge):
        gone = reviews.forgotten(ledger.read())
        console.show([("taken down", amount(len(gone), "sample")), *((name, note) for name, note in gone.iter_rows())])
        return
    if sample_id:
        with sync.in_step() as notes:
            ids = reviews.identified(sample_id)
            _decide(reviews.signed(reviews.forget(ledger.read(), ids, why)), "forget")
            console.show([("remains in", where) for where in ([] if purge else reviews.remains(ids))])
        console.show([("pushed", note) for note in notes])
    if purge:
        _purge()


def _purge() -> None:
    """A version of its own without what was taken down, where anything here has it; then DVC's cache without that."""
    from diva.store import parts
    from diva.versions import compact, reviews, sync, takedowns
    from diva.versions import purge as content

    with sync.in_step(strict=True) as notes:
        reviews.enforce()
        gone = takedowns.read()["sample_id"].to_list()
        places = content.places(gone)
        name = compact.compact(gone) if content.present(gone) else ""
        content.sweep_cache(gone)
    here = list(filter(parts.is_there, places))
    where = [*here[:5], *([f"{len(here) - 5} more files"] if here[5:] else []), *content.beyond(gone)]
    console.show(
        [
            ("purged", f"{len(gone)} samples, from data/ ({name or 'nothing there had any'}) and DVC's cache"),
            *(("remains in", path) for path in where),
            *(("pushed", note) for note in notes),
        ]
    )


def relabel(file: Annotated[Path, typer.Argument(metavar="FILE", help=".csv or .parquet: sample_id, label.")]) -> None:
    """Correct labels of accepted batches: a new entry of the ledger, which the next round obeys above any score."""
    from diva.store import ledger
    from diva.versions import reviews, sync

    with sync.in_step() as notes:
        _decide(reviews.signed(reviews.relabel(ledger.read(), file)), f"relabel {file.name}")
    console.show([("pushed", note) for note in notes])


def label(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help=".csv, .parquet (sample_id or path, label), Label Studio's .json, CVAT's .xml."
        ),
    ],
) -> None:
    """Bring labels of samples that wait for one: the pool's next batch, candidates of the next round like any other.

    Labels that cannot be taken are listed with their lines, and stand in data/quarantine after the next run.
    """
    from diva.store import ledger
    from diva.versions import labelling, sync

    download = params.section(params.read()[1], "download")
    accepts, separator = download.get("new_classes") == "accept", download.get("separator", "|")
    with sync.in_step(strict=True):
        record = labelling.checked(ledger.read(), file, accepts, separator)
        book = labelling.accepted(ledger.read(), record, file.as_posix())
        labelling.publish(book, record)
    console.show([("labels", f"{ledger.newest_pool(book)}: {labelling.described(record)}; {NEXT_BATCH}")])
    if faults := labelling.faults(record):
        console.show([("refused", faults.strip())])


def _decide(said: "pl.DataFrame", what: str) -> None:
    """Put decisions of people into the ledger as its newest review, and commit that; labels become a batch.

    Those on the test set stay apart.
    """
    from diva.store import ledger, paths
    from diva.versions import labelling, reviews

    record, said = labelling.reviewed(ledger.read(), said)
    said, of_test = reviews.separated(ledger.read(), said)
    if len(of_test):
        reviews.publish_of_test(of_test, what)
        console.show([("test set", f"{paths.TEST_DECISIONS}: {amount(len(of_test), 'decision')}; {NEXT_ERROR}")])
        if said.is_empty() and record.is_empty():
            return
    if len(record):
        book = labelling.accepted(ledger.read(), record, what)
        labelling.publish(book, record)
        console.show([("labels", f"{ledger.newest_pool(book)}: {labelling.described(record)}; {NEXT_BATCH}")])
        if said.is_empty():
            return
    if said.is_empty():
        console.show([("unchanged", "all of this was decided before")])
        return
    name = reviews.publish(said, what)
    console.show([("review", f"{name}, {what}: {amount(len(said), 'decision')}; {NEXT}")])
