"""What a version holds, computed again from what it was made of: a fault where another table comes out.

code     the files that stages ran are those of the commit
batch    every row of the manifest has features or a reason why not
pool     index(b) = index(b−1) and, after it, all of batch b but what was set aside
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

from diva.store import curated, index, ledger, manifest, paths, release, tables
from diva.store.features import FeatureFile
from diva.versions import contents, published
from diva.versions.published import Version
from diva.versions.stored_files import Fault, Held

SHOWN = 60  # characters of a value that a fault repeats


def code(held: Held) -> Iterator[Fault]:
    """The files that stages ran, by the digests that they depend on, are those of the commit, or of an earlier version.

    What published rounds rest on keeps the digests of the code that made it.
    """
    for out in held.stages.get("code", {}).get("outs", ()):
        path, md5 = out["path"], out["md5"]
        if held.first_time(f"code {path}", Path(path)):
            ran = json.loads(held.file(Path(path)).read_text("utf-8"))
            faults = list(_other_code(held.version, ran))
            history = published.before(held.version) if faults and Path(path).stem in published.HISTORY else []
            if faults and not any(
                contents.outputs(version.commit).get(path) == md5 and not any(_other_code(version, ran))
                for version in reversed(history)
            ):
                held.seen.shown.discard((f"code {path}", md5))
                yield from faults


def _other_code(version: Version, ran: dict[str, Any]) -> Iterator[Fault]:
    """Files that a version's commit has not as stages ran them."""
    digests = {path: digest for path, digest in ran.items() if path != "revision"}
    if not all(isinstance(digest, str) for digest in digests.values()):
        raise ValueError("digests must be text by path, got others.")
    found = contents.git_files(version, digests)
    for path, digest in digests.items():
        got = hashlib.sha256(found[path]).hexdigest() if path in found else "no such file"
        if got != digest:
            yield Fault(path, f"sha256 {digest}, which stages ran", f"{got} in the commit")


def batch(held: Held, name: str) -> Iterator[Fault]:
    """Manifest and features of a batch belong together, and nothing delivered is lost between them."""
    sources = (paths.manifest(name), paths.features(name), paths.quarantine("extract", name))
    if not held.first_time(f"batch {name}", *sources):
        return
    rows, refused = held.table(sources[0], manifest.SCHEMA), held.table(sources[2], manifest.QUARANTINE)
    stored, made = FeatureFile(held.file(sources[1])), manifest.checksum(held.file(sources[0]))
    where = sources[1].as_posix()
    if (got := stored.attributes.get("manifest_sha256")) not in (made, None):
        yield Fault(where, f"features of the manifest with sha256 {made}", f"of {got}")
    yield from _covered(where, rows["sample_id"], [*stored.sample_id, *refused["sample_id"]])
    labels = pl.DataFrame({"sample_id": stored.sample_id, "label": [stored.classes[code] for code in stored.labels]})
    known = rows.select("sample_id", "label").join(labels, on="sample_id", how="semi", maintain_order="right")
    yield from differ(where, known, labels.join(rows, on="sample_id", how="semi", maintain_order="left"))


def core(held: Held) -> Iterator[Fault]:
    """The core's index is its batch, but for what was set aside."""
    refused = held.table(paths.quarantine("fit", "core"), manifest.QUARANTINE)
    yield from _indexed(held, "core", paths.CORE, held.table(paths.CORE, index.SCHEMA), refused)


def pool(held: Held, name: str) -> Iterator[Fault]:
    """A link of the pool's chain: the index before, and the batch but for what was set aside."""
    path, before = paths.pool(name), paths.pool(held.book.pool[name].previous)
    aside = paths.quarantine("pool", name)
    if not held.first_time(f"pool {name}", path, before, aside, paths.manifest(name), paths.features(name)):
        return
    now, previous = held.table(path, index.SCHEMA), held.table(before, index.SCHEMA)
    yield from differ(path.as_posix(), previous, now.head(len(previous)))
    refused = held.table(aside, manifest.QUARANTINE)
    yield from _indexed(held, name, path, now.slice(len(previous)), refused)


def _indexed(held: Held, name: str, path: Path, rows: pl.DataFrame, refused: pl.DataFrame) -> Iterator[Fault]:
    """Rows of an index are those of a batch, but for what was set aside."""
    samples, features = held.table(paths.manifest(name), manifest.SCHEMA), paths.features(name)
    whole = index.of_batch(name, samples, held.file(features)).with_columns(features=pl.lit(features.as_posix()))
    yield from _covered(path.as_posix(), whole["sample_id"], [*rows["sample_id"], *refused["sample_id"]])
    yield from differ(path.as_posix(), whole.join(rows, on="sample_id", how="semi", maintain_order="left"), rows)


def start(held: Held) -> Iterator[Fault]:
    """The set r000 is the core after what its scores say."""
    settings = held.stages["start"]["params"][str(paths.PARAMS)]["curate"]
    scores = held.table(paths.scores(settings["score"]), curated.SCORES)
    state = curated.start(held.table(paths.CORE, index.SCHEMA), scores, settings["action"])
    path = paths.curated(ledger.ORIGIN["rounds"])
    yield from differ(path.as_posix(), state, held.table(path, curated.SCHEMA))


def base(held: Held, name: str) -> Iterator[Fault]:
    """What a compacted history starts from is in its place, and its rows are those of its files of features."""
    entry = held.book.base[name]
    for table, path, schema in (
        ("curated", paths.curated(name), curated.SCHEMA),
        ("pool", paths.pool(entry.pool), index.SCHEMA),
    ):
        yield from differ(path.as_posix(), held.table(paths.base(table), schema), held.table(path, schema))
    rows = held.table(paths.pool(entry.pool), index.SCHEMA)
    for (features, checksum), part in rows.group_by("features", "checksum", maintain_order=True):
        path = Path(str(features))
        if (got := tables.sha256(held.file(path))) != checksum:
            yield Fault(path.as_posix(), f"sha256 {checksum}, as the pool says", got)
        stored = FeatureFile(held.file(path)).sample_id
        here = part.filter(pl.col("row") < len(stored))
        found = [stored[row] for row in here["row"]]
        if len(here) < len(part) or found != here["sample_id"].to_list():
            yield Fault(path.as_posix(), "the rows that the pool names", "others")


def round_(held: Held, name: str) -> Iterator[Fault]:
    """A round's decisions and the people's, applied again to the set before, give its set."""
    entry = held.book.rounds[name]
    made = paths.curated(name)
    sources = (paths.curated(entry.previous), paths.decisions(name), paths.pool(entry.pool), paths.review(entry.review))
    if not held.first_time(f"round {name}", made, *sources):
        return
    schemas = (curated.SCHEMA, curated.DECISIONS, index.SCHEMA, curated.REVIEW)
    before, decided, rows, review = (held.table(*pair) for pair in zip(sources, schemas, strict=True))
    state = curated.apply(name, before, decided, rows, curated.possible(review, before, rows))
    yield from differ(made.as_posix(), state, held.table(made, curated.SCHEMA))


def review(held: Held, name: str) -> Iterator[Fault]:
    """People's decisions are those that the ledger has the checksum of."""
    path, checksum = paths.review(name), held.book.reviews[name].checksum
    got = f"sha256:{tables.sha256(held.file(path))}"
    if checksum not in ("none", got):
        yield Fault(path.as_posix(), f"{checksum}, as the ledger says", got)


def released(held: Held) -> Iterator[Fault]:
    """The release is the newest set with its weights."""
    book, setting = held.book, held.stages["release"]["params"][str(paths.PARAMS)]["release"]["weights"]
    weights = held.table(paths.WEIGHTS, release.WEIGHTS)
    rows = held.table(paths.pool(ledger.newest_pool(book)), index.SCHEMA)
    said = held.table(paths.review(ledger.obeyed_review(book)), curated.REVIEW)
    state = release.complete(held.table(paths.curated(book.latest), curated.SCHEMA), weights, rows, said)
    judged = json.loads(contents.git_text(held.version, paths.metrics("reweight"))).get("held_out")
    verdict = release.verdict(setting, judged)
    train, removed = release.frames(state, weights, verdict.kept)
    yield from differ(paths.TRAIN.as_posix(), train, held.table(paths.TRAIN, release.TRAIN))
    yield from differ(paths.REMOVED.as_posix(), removed, held.table(paths.REMOVED, release.REMOVED))
    summary = release.summary(book.latest, state, train, verdict, setting)
    if json.loads(held.file(paths.SUMMARY).read_text(encoding="utf-8")) != summary:
        yield Fault(paths.SUMMARY.as_posix(), "a summary of this release", "another")


def untested(held: Held) -> Iterator[Fault]:
    """No sample of the test set is in core, pool, set or release."""
    if "test" not in held.book.batches:
        return
    tested = held.table(paths.manifest("test"), manifest.SCHEMA)["sample_id"].implode()
    newest, sets = paths.pool(ledger.newest_pool(held.book)), paths.curated(held.book.latest)
    schemas = {paths.CORE: index.SCHEMA, newest: index.SCHEMA, sets: curated.SCHEMA, paths.TRAIN: release.TRAIN}
    for path, schema in schemas.items():
        found = held.table(path, schema).filter(pl.col("sample_id").is_in(tested))["sample_id"]
        if len(found):
            yield Fault(path.as_posix(), "no sample of the test set", f"{len(found)} (first: {found[0]})")


def _covered(path: str, wanted: pl.Series, got: list[str | None]) -> Iterator[Fault]:
    """Each wanted sample once, and no other."""
    known, found = set(wanted), set(got)
    if missing := sorted(known - found):
        yield Fault(path, f"all of {len(known)} samples, or why not", f"{len(missing)} missing (first: {missing[0]})")
    if strange := sorted(found - known, key=str):
        yield Fault(path, "samples that were delivered", f"{len(strange)} others (first: {strange[0]})")
    if len(found) < len(got):
        yield Fault(path, "each sample once", f"{len(got) - len(found)} again")


def differ(path: str, expected: pl.DataFrame, got: pl.DataFrame) -> Iterator[Fault]:
    """Where two tables differ first, if they do."""
    got = got.select(expected.columns)
    if expected.equals(got):
        return
    if len(expected) != len(got):
        yield Fault(path, f"{len(expected)} rows", f"{len(got)}")
        return
    for name in expected.columns:
        wrong = (expected[name].ne_missing(got[name])).arg_true()
        if len(wrong):
            told = [str(frame[name][wrong[0]])[:SHOWN] for frame in (expected, got)]
            yield Fault(path, f"{name} {told[0]} in row {wrong[0]}", f"{told[1]} ({len(wrong)} rows differ in {name})")
