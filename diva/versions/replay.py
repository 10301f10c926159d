"""What a version holds, computed again from what it was made of: a fault where another table comes out.

code     the files that stages ran are those of the commit
batch    every row of the manifest has features or a reason why not
pool     index(b) = index(b−1), less what b brings the missing label of, and, after it, all of b but what was set aside
round    set(r) = apply(set(r−1), decisions, review): the fold of the ledger
release  the newest set with its weights
test     none of its samples in any of them
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from diva.store import curated, digests, index, ledger, manifest, paths, release, tables
from diva.store.features import FeatureFile
from diva.text.votes import votes_in
from diva.versions import contents, library, published
from diva.versions.published import Version
from diva.versions.stored_files import FileFault, VersionFiles

SHOWN = 60  # characters of a value that a fault repeats


def code(files: VersionFiles) -> Iterator[FileFault]:
    """The files that stages ran, by the digests that they depend on, are those of the commit, or of an earlier version.

    What published rounds rest on keeps the digests of the code that made it.
    """
    for out in files.stages.get("code", {}).get("outs", ()):
        path, md5 = out["path"], out["md5"]
        if files.first_time(f"code {path}", Path(path)):
            ran = tables.read_json(files.file(Path(path)))
            faults = list(_other_code(files.version, ran))
            history = published.before(files.version) if faults and Path(path).stem in published.HISTORY else []
            if faults and not any(
                contents.outputs(version.commit).get(path) == md5 and not any(_other_code(version, ran))
                for version in reversed(history)
            ):
                files.seen.shown.discard((f"code {path}", md5))
                yield from faults


def _other_code(version: Version, ran: dict[str, Any]) -> Iterator[FileFault]:
    """Files that a version's commit has not as stages ran them."""
    digests = {path: digest for path, digest in ran.items() if path != "revision"}
    if not all(isinstance(digest, str) for digest in digests.values()):
        raise ValueError("digests must be text by path, got others.")
    actual = library.recorded_at(version.commit)
    files = contents.git_files(version, digests.keys() - actual.keys())
    actual = actual | {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    for path, digest in digests.items():
        got = actual.get(path, "no such file")
        if got != digest:
            yield FileFault(path, f"sha256 {digest}, which stages ran", f"{got} in the commit")


def batch(files: VersionFiles, name: str) -> Iterator[FileFault]:
    """Manifest and features of a batch belong together, and nothing delivered is lost between them."""
    sources = (paths.manifest(name), paths.features(name), paths.quarantine("extract", name))
    if not files.first_time(f"batch {name}", *sources):
        return
    rows, refused = files.table(sources[0], manifest.SCHEMA), files.table(sources[2], manifest.QUARANTINE)
    stored, made = FeatureFile(files.file(sources[1])), manifest.checksum(files.file(sources[0]))
    where = sources[1].as_posix()
    if (got := stored.attributes.get("manifest_sha256")) not in (made, None):
        yield FileFault(where, f"features of the manifest with sha256 {made}", f"of {got}")
    yield from _covered(where, rows["sample_id"], [*stored.sample_id, *refused["sample_id"]])
    names = [stored.classes[code] if code >= 0 else None for code in stored.labels]
    labels = index.rows_in(stored).select("sample_id", label=pl.Series(names, dtype=pl.String))
    pairs = rows.select("sample_id", "label").join(labels, on="sample_id", how="semi", maintain_order="right")
    yield from differ(where, pairs, labels.join(rows, on="sample_id", how="semi", maintain_order="left"))


def core(files: VersionFiles) -> Iterator[FileFault]:
    """The core's index is its batch, but for what was set aside."""
    refused = files.table(paths.quarantine("fit", "core"), manifest.QUARANTINE)
    yield from _indexed(files, "core", paths.CORE, files.table(paths.CORE, index.SCHEMA), refused)


def pool(files: VersionFiles, name: str) -> Iterator[FileFault]:
    """A link of the pool's chain: the index before, and the batch but for what was set aside."""
    path, before = paths.pool(name), paths.pool(files.book.pool[name].previous)
    aside = paths.quarantine("pool", name)
    if not files.first_time(f"pool {name}", path, before, aside, paths.manifest(name), paths.features(name)):
        return
    now = files.table(path, index.SCHEMA)
    previous = index.without_answered(files.table(before, index.SCHEMA), now.filter(pl.col("batch") == name))
    yield from differ(path.as_posix(), previous, now.head(len(previous)))
    refused = files.table(aside, manifest.QUARANTINE)
    yield from _indexed(files, name, path, now.slice(len(previous)), refused)


def _indexed(
    files: VersionFiles, name: str, path: Path, rows: pl.DataFrame, refused: pl.DataFrame
) -> Iterator[FileFault]:
    """Rows of an index are those of a batch, but for what was set aside."""
    samples, features = files.table(paths.manifest(name), manifest.SCHEMA), paths.features(name)
    whole = index.of_batch(name, samples, files.file(features)).with_columns(features=pl.lit(features.as_posix()))
    yield from _covered(path.as_posix(), whole["sample_id"], [*rows["sample_id"], *refused["sample_id"]])
    related = rows.filter(pl.col("group").str.starts_with("relatives ")).select("sample_id", named="group")
    expected = whole.join(rows, on="sample_id", how="semi", maintain_order="left")
    if votes_in(list(pl.read_parquet_schema(files.file(path)))):  # labels are what annotators and the model agree on
        labels = rows.select("sample_id", "label")
        expected = expected.drop("label").join(labels, on="sample_id", how="left", maintain_order="left")
    expected = expected.select(rows.columns)
    expected = expected.join(related, on="sample_id", how="left", maintain_order="left")  # taken as they stand
    yield from differ(path.as_posix(), expected.with_columns(group=pl.coalesce("group", "named")).drop("named"), rows)


def start(files: VersionFiles) -> Iterator[FileFault]:
    """The set r000 is the core after what its scores say."""
    settings = files.stages["start"]["params"][str(paths.PARAMS)]["curate"]
    scores = files.table(paths.scores(settings["score"]), curated.SCORES)
    state = curated.start(files.table(paths.CORE, index.SCHEMA), scores, settings["action"], manifest.task())
    path = paths.curated(ledger.ORIGIN["rounds"])
    yield from differ(path.as_posix(), state, files.table(path, curated.SCHEMA))


def base(files: VersionFiles, name: str) -> Iterator[FileFault]:
    """What a compacted history starts from is in its place, and its rows are those of its files of features."""
    entry = files.book.base[name]
    for table, path, schema in (
        ("curated", paths.curated(name), curated.SCHEMA),
        ("pool", paths.pool(entry.pool), index.SCHEMA),
    ):
        yield from differ(path.as_posix(), files.table(paths.base(table), schema), files.table(path, schema))
    rows = files.table(paths.pool(entry.pool), index.SCHEMA)
    for (features, checksum), part in rows.group_by("features", "checksum", maintain_order=True):
        path = Path(str(features))
        if (got := digests.sha256(files.file(path))) != checksum:
            yield FileFault(path.as_posix(), f"sha256 {checksum}, as the pool says", got)
        stored = FeatureFile(files.file(path)).sample_id
        here = part.filter(pl.col("row") < len(stored))
        actual = [stored[row] for row in here["row"]]
        if len(here) < len(part) or actual != here["sample_id"].to_list():
            yield FileFault(path.as_posix(), "the rows that the pool names", "others")


def round_(files: VersionFiles, name: str) -> Iterator[FileFault]:
    """A round's decisions and the people's, applied again to the set before, give its set."""
    entry = files.book.rounds[name]
    made = paths.curated(name)
    sources = (paths.curated(entry.previous), paths.changes(name), paths.pool(entry.pool), paths.review(entry.review))
    if not files.first_time(f"round {name}", made, *sources):
        return
    schemas = (curated.SCHEMA, curated.CHANGES, index.SCHEMA, curated.REVIEW)
    before, decided, rows, review = (files.table(*pair) for pair in zip(sources, schemas, strict=True))
    state = curated.apply(name, before, decided, rows, curated.possible(review, before, rows))
    yield from differ(made.as_posix(), state, files.table(made, curated.SCHEMA))


def review(files: VersionFiles, name: str) -> Iterator[FileFault]:
    """People's decisions are those that the ledger has the checksum of."""
    path, checksum = paths.review(name), files.book.reviews[name].checksum
    got = f"sha256:{digests.sha256(files.file(path))}"
    if checksum not in ("none", got):
        yield FileFault(path.as_posix(), f"{checksum}, as the ledger says", got)


def released(files: VersionFiles) -> Iterator[FileFault]:
    """The release is the newest set with its weights."""
    book, settings = files.book, files.stages["release"]["params"][str(paths.PARAMS)]["release"]
    setting, flagged = settings["weights"], settings.get("flagged")
    weights = files.table(paths.WEIGHTS, release.WEIGHTS)
    rows = index.labelled(files.table(paths.pool(ledger.newest_pool(book)), index.SCHEMA))
    said = files.table(paths.review(ledger.obeyed_review(book)), curated.REVIEW)
    calls = files.table(paths.CALLS, curated.CHANGES) if paths.CALLS.as_posix() in files.files else None
    state = release.complete(files.table(paths.curated(book.latest), curated.SCHEMA), weights, rows, said, calls)
    judged = json.loads(contents.git_text(files.version, paths.metrics("reweight")))
    verdict = release.verdict(setting, judged.get("held_out"))
    stored = [files.table(paths.TRAIN, release.TRAIN), release.read_removed(files.file(paths.REMOVED))]
    groups = None if flagged is None else _groups(files, rows)
    train, removed = release.frames(state, weights, verdict.weighted, flagged or "keep", groups)
    if flagged is None:  # a version of old
        removed = removed.with_columns(score=pl.lit(None, pl.Float64))
    yield from differ(paths.TRAIN.as_posix(), train, stored[0])
    yield from differ(paths.REMOVED.as_posix(), removed, stored[1])
    summary = release.summary(book.latest, state, train, verdict, setting, flagged or "keep", judged.get("set"))
    if tables.read_json(files.file(paths.SUMMARY)) != summary:
        yield FileFault(paths.SUMMARY.as_posix(), "a summary of this release", "another")


def _groups(files: VersionFiles, pool: pl.DataFrame) -> pl.DataFrame:
    """sample_id and group of what is left out together, by the indices and the relatives that ``fit`` stored."""
    named = [files.table(paths.CORE, index.SCHEMA), pool]
    if paths.RELATIVES.as_posix() in files.files:
        named.append(files.table(paths.RELATIVES, index.RELATIVES))
    return index.group_names(*named, stored=False)


def untested(files: VersionFiles) -> Iterator[FileFault]:
    """No sample of the test set is in core, pool, set or release."""
    if "test" not in files.book.batches:
        return
    tested = files.table(paths.manifest("test"), manifest.SCHEMA)["sample_id"].implode()
    newest, sets = paths.pool(ledger.newest_pool(files.book)), paths.curated(files.book.latest)
    schemas = {paths.CORE: index.SCHEMA, newest: index.SCHEMA, sets: curated.SCHEMA, paths.TRAIN: release.TRAIN}
    for path, schema in schemas.items():
        actual = files.table(path, schema).filter(pl.col("sample_id").is_in(tested))["sample_id"]
        if len(actual):
            yield FileFault(path.as_posix(), "no sample of the test set", f"{len(actual)} (first: {actual[0]})")


def _covered(path: str, wanted: pl.Series, got: list[str | None]) -> Iterator[FileFault]:
    """Each wanted sample once, and no other."""
    expected_ids, actual = set(wanted), set(got)
    if missing := sorted(expected_ids - actual):
        yield FileFault(
            path, f"all of {len(expected_ids)} samples, or why not", f"{len(missing)} missing (first: {missing[0]})"
        )
    if strange := sorted(actual - expected_ids, key=str):
        yield FileFault(path, "samples that were delivered", f"{len(strange)} others (first: {strange[0]})")
    if len(actual) < len(got):
        yield FileFault(path, "each sample once", f"{len(got) - len(actual)} again")


def differ(path: str, expected: pl.DataFrame, got: pl.DataFrame) -> Iterator[FileFault]:
    """Where two tables differ first, if they do."""
    got = got.select(expected.columns)
    if expected.equals(got):
        return
    if len(expected) != len(got):
        yield FileFault(path, f"{len(expected)} rows", f"{len(got)}")
        return
    for name in expected.columns:
        wrong = (expected[name].ne_missing(got[name])).arg_true()
        if len(wrong):
            values = [str(frame[name][wrong[0]])[:SHOWN] for frame in (expected, got)]
            yield FileFault(
                path, f"{name} {values[0]} in row {wrong[0]}", f"{values[1]} ({len(wrong)} rows differ in {name})"
            )
