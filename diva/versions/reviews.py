"""Versions of people's decisions: data/reviews/v001.parquet, v002, …; each holds all decisions so far, one per sample.

The ledger names the newest version and the next round obeys it, above any score (see ``diva.store.curated``):

    accept   the given label stands      relabel  another label does      reject  the sample leaves

A takedown is a rejection whose note begins with ``forgotten``: no later decision lifts it.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from diva.ingest import listings
from diva.store import curated, decisions, digests, index, ledger, manifest, parts, paths, tables, test_decisions
from diva.store.decisions import FORGOTTEN, FORGOTTEN_ROW, Decision
from diva.text.labels import plain_text
from diva.versions import repository, takedowns
from diva.versions.operations import rollback
from diva.versions.pipeline import dvc
from diva.versions.processes import git
from diva.versions.published import Version, numbers

HISTORY: tables.Schema = {"version": pl.String, **decisions.SCHEMA, "given_label": pl.String}


def read(book: ledger.Ledger) -> pl.DataFrame:
    """The newest decisions; none where there is no version of them yet."""
    newest = ledger.newest_review(book)
    if newest == ledger.REVIEW_ORIGIN:
        return tables.empty(decisions.SCHEMA)
    return tables.read(paths.review(newest), decisions.SCHEMA)


def write(book: ledger.Ledger, said: pl.DataFrame, what: str) -> tuple[ledger.Ledger, Path]:
    """Put the next version on disk; return the ledger that names it, which is still to be written, and its path."""
    path = paths.review(ledger.upcoming([ledger.newest_review(book)], "v"))
    tables.write(path, merged(read(book), said), decisions.SCHEMA)
    return ledger.plan_review(book, what, f"sha256:{digests.sha256(path)}"), path


def publish(said: pl.DataFrame, what: str) -> str:
    """Put decisions into the ledger as its newest version of them, and commit that; return the version's name."""
    takedowns.add(said.filter(FORGOTTEN_ROW))  # first: from here on they stand, whatever becomes of this command
    book, path = write(ledger.read(), said, what)
    dvc("add", path.as_posix())
    ledger.write(paths.LEDGER, book)  # last: from here on, the next round obeys it
    repository.commit(f"Review {path.stem}: {what}", *map(str, (paths.LEDGER, path.parent, *of_git())))
    return path.stem


def separated(book: ledger.Ledger, said: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decisions on what trains, and those on the test set alone."""
    trains = pl.col("sample_id").is_in(samples(book, unlabelled=True)["sample_id"].implode())
    return said.filter(trains), said.filter(~trains)


def keep_of_test(said: pl.DataFrame) -> None:
    """Put decisions on the test set where nothing that trains looks, for the next commit."""
    test_decisions.add(said)
    git("add", "--force", "--", test_decisions.FILE.as_posix())


def publish_of_test(said: pl.DataFrame, what: str) -> None:
    """Put decisions on the test set where nothing that trains looks, and commit that."""
    keep_of_test(said)
    repository.commit(f"Review of the test set: {what}", test_decisions.FILE.as_posix())


def roll_back(version: Version) -> int:
    """Go back to a version, but for takedowns: those since then stay, for all versions to come; return how many."""
    enforce()
    rollback(version)
    return enforce(f"takedowns since {version.name}")


def enforce(what: str = "takedowns") -> int:
    """Put takedowns that the newest review lacks into a new one, which rounds to come obey; return how many."""
    book = ledger.read()
    reviewed_rows = read(book)
    takedowns.add(reviewed_rows.filter(FORGOTTEN_ROW))  # of projects from before there was the list
    takedowns.add(takedowns.twins())
    missing = takedowns.read().join(reviewed_rows.filter(FORGOTTEN_ROW), on="sample_id", how="anti")
    if len(missing):
        publish(_decisions(missing, "reject", None, pl.col("note")), what)
    elif repository.uncommitted(takedowns.FILE.as_posix()):
        repository.commit("List takedowns", takedowns.FILE.as_posix())
    return len(missing)


def unmet(book: ledger.Ledger) -> bool:
    """Whether takedowns are missing in the newest review, as far as it is here."""
    newest = ledger.newest_review(book)
    if newest != ledger.REVIEW_ORIGIN and not paths.review(newest).is_file():
        return False
    return bool(set(takedowns.read()["sample_id"]) - set(read(book).filter(FORGOTTEN_ROW)["sample_id"]))


def of_git() -> list[Path]:
    """What else a commit of decisions holds: takedowns, and the records of labels that the ledger may name."""
    return [path for path in (takedowns.FILE, paths.LABELS) if git("ls-files", "--", path.as_posix())]


def merged(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Old decisions and new ones, of which the new stand; ordered by sample.

    Raises:
        ValueError: a new decision on a sample that was forgotten, or two on one sample.
    """
    gone = set(old.filter(FORGOTTEN_ROW)["sample_id"]) & set(new.filter(~FORGOTTEN_ROW)["sample_id"])
    if gone:
        raise ValueError(f"sample_id must be of samples that were not forgotten, got {min(gone)}: takedowns stay.")
    twice = new.filter(pl.col("sample_id").is_duplicated())["sample_id"]
    if len(twice):
        raise ValueError(f"sample_id must occur once, got two decisions on {twice[0]}.")
    rest = old.join(new, on="sample_id", how="anti")
    whole = pl.concat([rest, new], how="diagonal").sort("sample_id")
    return tables.conform(whole, decisions.SCHEMA, "review")


def samples(book: ledger.Ledger, unlabelled: bool = False) -> pl.DataFrame:
    """All samples that a round may train on, as far as they are indexed here, and those that wait for a label if asked.

    Columns: sample_id, label as given, batch.
    """
    pool = (index.whole if unlabelled else index.read)(ledger.newest_stored(ledger.pools(book), paths.pool))
    return pl.concat([index.read(paths.CORE), pool]).select("sample_id", "label", "batch")


def forget(book: ledger.Ledger, sample_id: Sequence[str], why: str = "") -> pl.DataFrame:
    """Decisions that take samples down; those taken down before are left out, also where nothing has them any more.

    Raises:
        ValueError: an id that is no sample of core or pool.
    """
    before = set(read(book).filter(FORGOTTEN_ROW)["sample_id"])
    names = [name for name in dict.fromkeys(sample_id) if name not in before]
    _require(samples(book, unlabelled=True), pl.Series(names, dtype=pl.String))
    note = f"{FORGOTTEN}: {why}" if why else FORGOTTEN
    return _decisions(pl.DataFrame({"sample_id": names}, {"sample_id": pl.String}), "reject", None, note)


def identified(names: Sequence[str]) -> list[str]:
    """Ids of samples that are named by their id or by their file: its whole path, or the end of it.

    Raises:
        ValueError: a name of several samples; the first of them are shown. What is no file's stays as it is.
    """
    rows = takedowns.indexed().select("sample_id", "path").unique(maintain_order=True)
    ids, wanted = set(rows["sample_id"]), []
    for name in names:
        ends = (pl.col("path") == name) | pl.col("path").str.ends_with(f"/{name}")
        same = rows.filter(ends).head(3).rows() if name not in ids else []
        if len(same) > 1:
            raise ValueError(
                f"{name} must name one sample, got several: {'; '.join(f'{path} is {of}' for of, path in same)}."
            )
        wanted.append(same[0][0] if same else name)
    return wanted


def remains(sample_id: Sequence[str]) -> list[str]:
    """Where samples still are after a takedown: files and versions, in words."""
    rows = takedowns.indexed().filter(pl.col("sample_id").is_in(list(sample_id)))
    batches = rows["batch"].unique(maintain_order=True).to_list()
    places = [path for path in rows["path"].unique(maintain_order=True) if parts.file_of(path).exists()]
    features = [path.as_posix() for path in map(paths.features, batches) if path.is_file()]
    page = [paths.REPORT.as_posix()] if rows.height and paths.REPORT.is_file() else []
    files = [*features, *_tables_with(sample_id), *page]
    versions = [number.tag for number in numbers()]
    span = f"{versions[0]} to {versions[-1]}" if len(versions) > 1 else "".join(versions)
    where = [*places[:5], *([f"{len(places) - 5} more files"] if places[5:] else []), *files]
    return where + ([f"versions published so far ({span}), in DVC's cache and on its remote"] if versions else [])


def _tables_with(sample_id: Sequence[str]) -> list[str]:
    """Tables of data/ that name one of these samples, but for decisions; many of one folder by its name."""
    folders = defaultdict[str, list[str]](list)
    for path in sorted(paths.DATA.rglob("*.parquet")):
        if path.parent != paths.PENDING.parent and _names(path, sample_id):
            folders[path.parent.as_posix()].append(path.as_posix())
    shown = (files if len(files) < 4 else [f"{len(files)} tables of {name}"] for name, files in folders.items())
    return [name for files in shown for name in files]


def _names(path: Path, sample_id: Sequence[str]) -> bool:
    """Whether a table names one of these samples, as far as it can be read."""
    try:
        rows = pl.scan_parquet(path)
        asked = pl.col("sample_id").cast(pl.String).is_in(list(sample_id))
        return "sample_id" in rows.collect_schema() and not rows.filter(asked).head(1).collect().is_empty()
    except (pl.exceptions.PolarsError, OSError):
        return True


def forgotten(book: ledger.Ledger) -> pl.DataFrame:
    """What was taken down: sample_id and note."""
    return read(book).filter(FORGOTTEN_ROW).select("sample_id", "note")


def relabel(book: ledger.Ledger, file: Path) -> pl.DataFrame:
    """Decisions that correct labels, from a list (.csv, .tsv, .txt, .parquet) with the columns sample_id and label.

    Raises:
        ValueError: no such table, a sample that is not known, no label, or one that no sample has.
    """
    (_, header), *rows = tables.parse(lambda path: list(listings.rows(path)), file, "list")
    if not {"sample_id", "label"} <= set(header):
        raise ValueError(
            f"{file} must have the columns sample_id and label, got {', '.join(header) or 'none'}; rename them."
        )
    of_id, of_label = header.index("sample_id"), header.index("label")
    said = [(line, plain_text(row[of_id]) or "", plain_text(row[of_label]) or "") for line, row in rows]
    empty = [str(line) for line, name, label in said if not (name and label)]
    if empty:
        raise ValueError(
            f"{file} must have a sample_id and a label in each row, got {len(empty)} without: "
            f"line {', '.join(empty[:10])}; fill them in, or take the lines out."
        )
    corrections = ((line, Decision(name, "relabel", label, f"corrected: {file.name}")) for line, name, label in said)
    about = decisions.reviewable(samples(book), tables.empty(curated.REVIEW), tested())  # `merged` refuses takedowns
    return decisions.collected(file, corrections, [], about)


def reviewable(book: ledger.Ledger) -> decisions.Reviewable:
    """What there is to decide about."""
    return decisions.reviewable(samples(book, unlabelled=True), read(book), tested())


def tested() -> pl.DataFrame:
    """The test set's samples with a label, as far as they are here: sample_id and label."""
    path = paths.manifest("test")
    rows = manifest.read(path) if path.is_file() else manifest.samples([])
    return rows.drop_nulls("label").select("sample_id", "label")


def reviewed(book: ledger.Ledger, file: Path, name: str | None = None) -> pl.DataFrame:
    """The decisions of a review.csv (see ``diva.store.decisions``), without those that stand already.

    Args:
        book: the ledger.
        file: the table.
        name: who decided, where the file does not say so; git's ``user.name`` unless given.

    Raises:
        ValueError: no such table, or rows that cannot be: one error that names all of them with their lines.
    """
    return fresh(book, signed(decisions.read(file, reviewable(book)), name))


def fresh(book: ledger.Ledger, said: pl.DataFrame) -> pl.DataFrame:
    """Decisions without those that stand already, by the same person where who decides is named."""
    stand, named = pl.concat([read(book), test_decisions.read()]), pl.col("reviewer").is_not_null()
    parts = [(said.filter(~named), [*curated.REVIEW]), (said.filter(named), [*decisions.SCHEMA])]
    return pl.concat(part.join(stand, on=columns, how="anti", nulls_equal=True) for part, columns in parts)


def signed(said: pl.DataFrame, name: str | None = None) -> pl.DataFrame:
    """Decisions with who decided, where they do not say so: the name, else git's ``user.name``, else nobody."""
    return said.with_columns(reviewer=pl.coalesce("reviewer", pl.lit(reviewer(name), pl.String)))


def reviewer(name: str | None = None) -> str | None:
    """Who decides: the name, else git's ``user.name``; None where git has none."""
    return decisions.reviewer(name or git("config", "--get", "user.name", check=False))


def history(book: ledger.Ledger) -> pl.DataFrame:
    """What each version of decisions brought, oldest first, as far as the versions are here.

    Columns: version, those of decisions, given_label.
    """
    stand, brought = tables.empty(decisions.SCHEMA), []
    for name in sorted(filter(lambda each: paths.review(each).is_file(), book.reviews), key=ledger.number):
        before, stand = stand, tables.read(paths.review(name), decisions.SCHEMA)
        new = stand.join(before, on=stand.columns, how="anti", nulls_equal=True, maintain_order="left")
        brought.append(new.select(pl.lit(name).alias("version"), pl.all()))
    if not brought:
        return tables.empty(HISTORY)
    given = samples(book, unlabelled=True).select("sample_id", given_label="label")
    return pl.concat(brought).join(given, on="sample_id", how="left", maintain_order="left")


def _require(present: pl.DataFrame, sample_id: pl.Series) -> None:
    others = sorted(set(sample_id) - set(present["sample_id"]))
    if others:
        raise ValueError(
            f"sample_id must be that of a sample of core or pool (data/curated and data/pool list them; a test set "
            f"never trains), got {others[0]!r}{f' and {len(others) - 1} others' if others[1:] else ''}."
        )


def _decisions(frame: pl.DataFrame, decision: str, label: pl.Expr | None, note: str | pl.Expr) -> pl.DataFrame:
    columns = {
        "decision": pl.lit(decision),
        "label": pl.lit(None) if label is None else label,
        "note": pl.lit(note) if isinstance(note, str) else note,
    }
    return tables.conform(frame.with_columns(**columns).select(list(curated.REVIEW)), decisions.SCHEMA, "decisions")
