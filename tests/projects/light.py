"""Stand-ins for the stages that import torch: `python light.py <verb> [name]` writes the same files in half a second.

What a flow does depends on which files a stage reads and writes, not on the numbers in them. Features are the pixels,
a round adds the next pool samples in the index's order, all weights are 1.
"""

import json
import sys

import h5py
import numpy as np
import polars as pl
import yaml
from PIL import Image

from diva.store import atomic, curated, evaluation, features, index, ledger, manifest, paths, release, tables
from diva.vision import revision

PARAMS = yaml.safe_load(paths.PARAMS.read_text())


def extract(batch: str) -> None:
    rows, params = manifest.read(paths.manifest(batch)), PARAMS["extract"]
    made = {"backbone": params["backbone"], "weights": params["weights"], "weights_sha256": "", "seed": params["seed"]}
    made |= {
        "transform": json.dumps({"resize": params["resize"]}),
        "manifest_sha256": manifest.checksum(paths.manifest(batch)),
        "revision": revision.FEATURES,
    }
    writer = features.FeatureWriter(paths.features(batch), made, params["dtype"])
    pixels = [np.asarray(Image.open(path).convert("L").resize((8, 8)), np.float32).ravel() for path in rows["path"]]
    if writer.done < len(rows):
        writer.append(1 + np.stack(pixels[writer.done :]))
    writer.finish(rows["label"].to_list(), rows["sample_id"].to_list())
    tables.write(paths.quarantine("extract", batch), manifest.refusals([]), manifest.QUARANTINE)
    counts = {"rows": len(rows), "extracted": len(rows), "features": 64, "quarantined": 0, "reasons": {}}
    tables.write_json(paths.metrics(f"extract/{batch}"), counts)
    sys.stdout.write(f"{len(rows)} of {len(rows)} images, 1 images/s, 0 s left.\n")


def fit() -> None:
    core = index.of_batch("core", manifest.read(paths.manifest("core")), paths.features("core"))
    index.write(paths.CORE, core)
    with h5py.File(paths.MOMENTS, "w") as file:
        file.create_dataset("gram", data=np.full((2, 2), PARAMS["fit"]["ridges"][0]), track_times=False)
    tables.write_json(paths.FIT, {"ridge": PARAMS["fit"]["ridges"][0], "classes": sorted(set(core["label"]))})
    tables.write(paths.quarantine("fit", "core"), manifest.refusals([]), manifest.QUARANTINE)
    tables.write_json(paths.metrics("fit"), {"samples": len(core), "classes": 10})


def score(method: str) -> None:
    core = index.read(paths.CORE)
    scored = core.select("sample_id", score=0.5, margin=0.5, flagged=False, suggested_label="label", derivative=0.0)
    scored = scored.with_columns(suggested_label=core["label"], flagged=pl.lit(value=False))
    tables.write(paths.scores(method), scored, curated.SCORES)
    tables.write_json(paths.metrics(f"scores/{method}"), {"samples": len(core), "flagged": 0, "rate": 0.0})


def extend(name: str) -> None:
    entry = ledger.round_(ledger.read(), name)
    state, pool = curated.read(entry.previous), index.read(paths.pool(entry.pool))
    unused = pool.join(state, on="sample_id", how="anti", maintain_order="left")
    spent, settings = int((state["origin"] == "pool").sum()), entry.settings["extend"]
    left = len(unused) if settings["budget"] is None else settings["budget"] - spent
    most = min(settings["per_round"], left)
    values = {"change": pl.lit("add"), "derivative": 0.0, "margin": 0.0, "score": 0.0, "reason": pl.lit("next")}
    added = unused.head(most).with_columns(
        suggested_label="label",
        **{key: pl.lit(value) if isinstance(value, float) else value for key, value in values.items()},
    )
    tables.write(paths.changes(name), added.select(list(curated.CHANGES)), curated.CHANGES)
    atomic.copy(paths.moments(entry.previous), paths.moments(name))
    told = {"pool": entry.pool, "added": len(added), "removed": 0, "relabelled": 0, "flagged": 0}
    stop = "the pool is used up" if len(unused) <= most else "none"
    tables.write_json(paths.metrics(f"rounds/{name}"), told | {"candidates": len(unused), "stop": stop})


def reweight() -> None:
    state = curated.read(ledger.read().latest)
    weights = state.filter(pl.col("status") == "member").select("sample_id", weight=1.0, derivative=0.0, margin=0.0)
    tables.write(paths.WEIGHTS, weights, release.WEIGHTS)
    tables.write_json(paths.metrics("reweight"), {"samples": len(weights), "held_out": None})


def evaluate() -> None:
    book, rounds = ledger.read(), []
    for name in ledger.sets(book):
        size = int((curated.read(name)["status"] == "member").sum())
        rounds.append({"round": name, "size": size, "error": round(10 / size, 4), "low": 0.0, "high": 1.0})
    test = {"samples": 40, "kind": "test", "caveat": ""}
    one = {"error": rounds[-1]["error"], "low": 0.0, "high": 1.0}
    one |= {"difference": 0.0, "difference_low": 0.0, "difference_high": 0.0}
    used = evaluation.release_set(tables.read_json(paths.metrics("release")))
    sets = dict.fromkeys(("core", "release_weighted", "release_unweighted", used), one)
    told = {"test": test, "sets": sets, "release": used, "rounds": rounds, "planted": {"known": False}}
    interim = {"interim": True} if evaluation.interim_wanted(book) else {}
    tables.write_json(paths.metrics("evaluate"), told | interim)
    for name, schema in evaluation.SCHEMAS.items():
        evaluation.write(name, tables.empty(schema))


def report() -> None:
    paths.REPORT.parent.mkdir(parents=True, exist_ok=True)
    paths.REPORT.write_text(f"<p>{ledger.read().latest}</p>")
    paths.PLOTS.mkdir(parents=True, exist_ok=True)
    for name in ("scores", "weights", "sets", "rounds"):
        (paths.PLOTS / f"{name}.csv").write_text("x\n")


VERBS = {verb.__name__: verb for verb in (extract, fit, score, extend, reweight, evaluate, report)}

if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])
