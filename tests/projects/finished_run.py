"""What a finished run leaves behind, made up on the spot: small, plausible, of known figures."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
from PIL import Image

from diva.ingest.images import digest
from diva.store import curated, evaluation, index, ledger, manifest, paths, release, tables

CLASSES = ("cat", "dog", "owl")
SETS = ("core", "release_weighted", "release_unweighted", "release_unflagged", "everything", "everything_reweighted")
SETTINGS = {"extend": {"per_round": 0.1, "budget": None}, "curate": {"score": "soft", "action": "weigh"}}
CALLED = 6  # samples of the core whose label is called wrong; the first four are planted wrong


def finish(*, pool: bool = True, truth: bool = True, images: bool = True, action: str = "weigh") -> None:
    """Write the data/ of a run in the working directory: a core of 24, and a round that adds 6 of 12."""
    batches = {"core": 24, "test": 9} | ({"b001": 12} if pool else {})
    for name, size in batches.items():
        deliver(name, size, truth, images)
    for name in batches:
        features(name)
    ledger.write(paths.LEDGER, book(pool))
    state = curate(pool, action)
    publish(state)
    measure(state, pool, truth)
    evaluate(state, pool)


def deliver(batch: str, size: int, truth: bool, images: bool) -> None:
    """Images, manifest, quarantine and planted truth of a batch."""
    start = {"core": 0, "test": 1000}.get(batch, 2000)
    labels = [CLASSES[number % 3] for number in range(size)]
    ids = [f"{number:032x}" for number in range(start, start + size)]
    names = [paths.raw(batch) / f"{number:05d}.png" for number in range(size)]
    if images:
        draw(names, start)
        ids = [(digest(name) or "")[: manifest.ID_LENGTH] for name in names]
    rows = [manifest.Sample(one, name.as_posix(), label) for one, name, label in zip(ids, names, labels, strict=True)]
    manifest.write(paths.manifest(batch), manifest.samples(rows))
    refused = [manifest.Refused(None, f"{batch}/broken.png", None, "zero bytes", "Copy the file again.")]
    tables.write(paths.quarantine("download", batch), manifest.refusals(refused), manifest.QUARANTINE)
    right = [CLASSES[(number + (number < 4)) % 3] for number in range(size)]
    known = pl.DataFrame({"sample_id": ids, "true_label": right}, dict(manifest.TRUTH))
    tables.write(paths.truth(batch), known if truth else known.clear(), manifest.TRUTH)


def draw(names: list[Path], seed: int) -> None:
    generator = np.random.default_rng(seed)
    for name in names:
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (8, 8), dtype=np.uint8)).save(name)


def features(batch: str, **attributes: Any) -> None:
    """Features of no meaning, of a batch's manifest."""
    rows, path = manifest.read(paths.manifest(batch)), paths.features(batch)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"backbone": "resnet18", "weights": "none", "weights_sha256": "", "seed": 0, "transform": "{}"}
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=np.ones((len(rows), 3), np.float32))
        file.create_dataset("labels", data=np.zeros(len(rows), np.int32))
        file.create_dataset("sample_id", data=rows["sample_id"].to_numpy().astype("S32"))
        file.create_dataset("classes", data=np.array(CLASSES, object), dtype=h5py.string_dtype())
        file.attrs.update(made | {"manifest_sha256": manifest.checksum(paths.manifest(batch))} | attributes)


def book(pool: bool) -> ledger.Ledger:
    checksum = iter(f"sha256:{number:064x}" for number in range(3))
    found = ledger.start(ledger.Batch(source="photos", checksum=next(checksum), options={}))
    found = ledger.accept(found, "test", "tests", {}, next(checksum))
    if not pool:
        return found
    return ledger.plan_round(ledger.accept(found, None, "more", {}, next(checksum)), SETTINGS)


def indexed(batch: str) -> pl.DataFrame:
    rows = manifest.read(paths.manifest(batch)).with_row_index("number")
    where = {"batch": batch, "features": paths.features(batch).as_posix(), "checksum": "none"}
    columns = {name: pl.lit(value) for name, value in where.items()}
    return tables.conform(rows.with_columns(row="number", **columns).select(list(index.SCHEMA)), index.SCHEMA, batch)


def curate(pool: bool, action: str) -> pl.DataFrame:
    """Scores, r000 and, with a pool, r001."""
    core = indexed("core")
    place = pl.int_range(pl.len())
    scores = core.select(
        "sample_id",
        score=1 - place / 30,
        margin=place / 24 - 0.3,
        flagged=place < CALLED,
        suggested_label=pl.col("label").replace_strict(dict(zip(CLASSES, CLASSES[1:] + CLASSES[:1], strict=True))),
        derivative=0.1 - place / 100,
    )
    tables.write(paths.scores("soft"), scores, curated.SCORES)
    state = curated.start(core, scores, action)
    curated.write(paths.curated("r000"), state)
    if not pool:
        return state
    candidates = indexed("b001")
    added = candidates.head(6).select(
        "sample_id",
        change=pl.lit("add"),
        derivative=pl.lit(-0.1),
        margin=pl.lit(0.2),
        score=pl.lit(0.3),
        suggested_label=pl.lit("cat"),
        reason=pl.lit("gain"),
    )
    flags = scores.filter(pl.col("flagged") & pl.lit(action == "weigh"))
    again = flags.with_columns(change=pl.lit("flag"), reason=pl.lit("called so")).select(added.columns)
    decisions = pl.concat([added, again.cast(added.schema)])
    state = curated.apply("r001", state, decisions, candidates, tables.empty(curated.REVIEW))
    curated.write(paths.curated("r001"), state)
    return state


def publish(state: pl.DataFrame) -> None:
    """Weights and the release."""
    members = state.filter(pl.col("status") == "member")
    place = pl.int_range(pl.len())
    weights = members.select("sample_id", weight=place / 15.0, derivative=pl.lit(-0.1), margin=pl.lit(0.2))
    tables.write(paths.WEIGHTS, weights, release.WEIGHTS)
    tables.write_json(paths.WEIGHTS_HISTORY, {"steps": [{"loss": 0.5 - 0.1 * step} for step in range(3)]})
    verdict = release.Verdict(weighted=True, reason="held-out error 0.1 with weights, 0.2 without")
    train, removed = release.frames(state, weights, verdict.weighted)
    tables.write(paths.TRAIN, train, release.TRAIN)
    tables.write(paths.REMOVED, removed, release.REMOVED)
    newest = str(state["round"].max())
    tables.write_json(paths.SUMMARY, release.summary(newest, state, train, verdict, "auto"))


def measure(state: pl.DataFrame, pool: bool, truth: bool) -> None:
    """Metrics: errors fall from one set to the next; everything, reweighted, is the best."""
    names = ["r000", "r001"] if pool else ["r000"]
    core = {"flagged": 6, "wrong": 4, "hit": 4, "precision": 2 / 3, "recall": 1.0}
    planted = {**core, "wrong": 8, "recall": 0.5, "core": core, "rounds": [{"round": "r001", "added": 6, "wrong": 4}]}
    sets = {name: figures(0.2 - 0.02 * place, 24 + place) for place, name in enumerate((*SETS, "uniform"))}
    sets["uniform"] |= figures(0.3, 30)
    rounds = [{"round": name, "added": 6 * (name != "r000"), "removed": 0, "size": 24} | figures(0.2) for name in names]
    for told in rounds[1:]:
        told |= {"uniform": 0.25, "uniform_low": 0.2, "uniform_high": 0.3}
    content = {
        "test": {"samples": 9, "kind": "test", "caveat": ""},
        "sets": sets,
        "rounds": rounds,
        "planted": {"known": True, **planted} if truth else {"known": False},
    }
    tables.write_json(paths.metrics("evaluate"), content)
    fit = {"ridge": 0.1, "temperature": 7.5, "loo_error": 0.25, "samples": 24, "classes": 3, "excluded": 0}
    tables.write_json(paths.metrics("fit"), fit)
    tables.write_json(
        paths.FIT, {"ridge": 0.1, "temperature": 7.5, "loo_error": 0.25, "normalize": "unit", "excluded": 0}
    )
    for name in names[1:]:
        tables.write_json(paths.METRICS / "rounds" / f"{name}.json", {"added": 6, "stop": "no candidate is left"})


def figures(error: float, size: int = 24) -> dict[str, float]:
    """Figures of one training set; its difference to the core's 0.2."""
    shift = error - 0.2
    ends = {"difference_low": shift - 0.01, "difference_high": shift + 0.01}
    interval = {"error": error, "low": error - 0.05, "high": error + 0.05}
    return {"size": size, "ridge": 0.1, **interval, "difference": shift, **ends, "loo_error": float("nan")}


def evaluate(state: pl.DataFrame, pool: bool) -> None:
    """Tables of ``evaluate``: errors by class, the curve of Reweight, six samples left for two reasons."""
    sets = {"core": 0.3, "release_weighted": 0.1, "release_unweighted": 0.2, "everything": 0.4}
    sets |= {"release_unflagged": 0.2, "release_unflagged_weighted": 0.1}
    evaluation.write("classes", pl.DataFrame({"label": CLASSES, "samples": [3, 3, 3], **sets}))
    steps = [{"step": step, "loss": 0.5 - 0.1 * step, **figures(0.2 + 0.01 * abs(step - 1))} for step in range(4)]
    evaluation.write("steps", pl.DataFrame(steps).select(list(evaluation.STEPS)))
    unused = indexed("b001").filter(~pl.col("sample_id").is_in(state["sample_id"].implode())) if pool else None
    left = tables.empty(evaluation.REMAINING) if unused is None else unused
    reason = pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("label probably wrong")).otherwise(pl.lit("no room yet"))
    numbers = dict.fromkeys(("score", "margin", "derivative", "gain"), 0.25)
    told = left.with_columns(**numbers, suggested_label=pl.lit("owl"), reason=reason)
    evaluation.write("left", told.select(list(evaluation.REMAINING)))
    for name in ("audit", "slices", "pairs", "deliveries", "columns"):
        evaluation.write(name, tables.empty(evaluation.SCHEMAS[name]))
