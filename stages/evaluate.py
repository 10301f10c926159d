"""Stage ``evaluate``: what each training set is worth, by the test error of the same linear head; the planted truth."""

import logging
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from diva.curation.evaluation import Errors, Head
from diva.store import curated, evaluation, index, ledger, manifest, paths, release, tables
from diva.text.progress import track
from stages import curves, rows
from stages.command import run
from stages.left import left
from stages.params import section
from stages.params.evaluate import Evaluate
from stages.params.reweight import Reweight
from stages.planted import planted
from stages.trial import Trial

logger = logging.getLogger(__name__)

HELD_OUT = (
    "No test set: errors are those of a held-out fold of the core, whose labels may be wrong and which took part in "
    "choosing; read them together with the leave-one-out errors."
)


class Drawn(NamedTuple):
    """A uniform choice: from which pool, how many samples with the core, the mean errors of its draws."""

    pool: str
    size: int
    errors: Errors


def main() -> None:
    """data/metrics/evaluate.json and data/evaluation."""
    settings, fit, book = section.read("evaluate", Evaluate), rows.read_fit(), ledger.read()
    core, pool = index.read(paths.CORE), index.read(paths.pool(ledger.newest_pool(book)))
    state = curated.read(book.latest)
    test, about, held = test_rows(core, fit, settings)
    trial = Trial(settings, fit, test, fit.with_classes(pl.concat([pool["label"], state["label"]])), held)
    members = newest(state, pool, release.obeyed(book))
    trained, errors = sets(trial, core, pool, members)
    metrics = {
        "test": about,
        "sets": trained,
        "rounds": rounds(trial, book, core, Drawn(ledger.newest_pool(book), len(members), errors["uniform"])),
        "planted": planted(state, [paths.truth(name) for name in ledger.truths(book)]),
    }
    tables.write_json(paths.metrics("evaluate"), metrics)
    shown = {name: errors[name] for name in evaluation.CLASSES if name in errors}
    reweighting, ridge = section.read("reweight", Reweight), trained["release_unweighted"]["ridge"]
    evaluation.write("classes", curves.by_class(test, shown))
    evaluation.write("steps", curves.steps(trial, members, ridge, reweighting, settings.steps))
    evaluation.write("left", left(book, state, pool, trial.classes))
    logger.info("test error of the core %(error).4f [%(low).4f, %(high).4f]", trained["core"])


def test_rows(
    core: pl.DataFrame, fit: rows.Fit, settings: Evaluate
) -> tuple[pl.DataFrame, dict[str, object], set[str]]:
    """What tests, what to say about it, and which samples must not train for it."""
    test = index.of_batch("test", manifest.read(paths.manifest("test")), paths.features("test"))
    known = test.filter(pl.col("label").is_in(fit.classes))
    if len(known):
        return known, _about(len(known), "test", "", len(test) - len(known)), set()
    order = np.random.default_rng(settings.seed).permutation(len(core))
    fold = core[sorted(order[: max(1, round(settings.held_out * len(core)))].tolist())]
    return fold, _about(len(fold), "held_out", HELD_OUT, 0), set(fold["sample_id"])


def _about(samples: int, kind: str, caveat: str, unknown_class: int) -> dict[str, object]:
    return {"samples": samples, "kind": kind, "caveat": caveat, "unknown_class": unknown_class}


def newest(state: pl.DataFrame, pool: pl.DataFrame, review: pl.DataFrame) -> pl.DataFrame:
    """Members of the newest set, and the rest of the pool where that is weighed too; with their weights."""
    weights = tables.read(paths.WEIGHTS, release.WEIGHTS).select("sample_id", "weight")
    members = release.complete(state, weights, pool, review).filter(pl.col("status") == "member")
    return members.join(weights, on="sample_id", how="left", maintain_order="left")


def sets(
    trial: Trial, core: pl.DataFrame, pool: pl.DataFrame, members: pl.DataFrame
) -> tuple[dict[str, dict[str, float]], dict[str, Errors]]:
    """The training sets side by side: their figures, and 1 for each test sample that they get wrong."""
    weight = members["weight"].to_numpy()
    everything = pl.concat([core, pool])
    frames = {
        "core": core,
        "release_weighted": members,
        "release_unweighted": members,
        "release_unflagged": unflagged(members),
        "everything": everything,
        "everything_reweighted": everything,
    }
    weights_of = {
        "release_weighted": torch.tensor(weight),
        "everything_reweighted": trial.weigh(everything, section.read("reweight", Reweight)),
    }
    heads = {
        name: trial.train(frame, weights_of.get(name)) for name, frame in track(frames.items(), len(frames), "sets")
    }
    errors = {name: trial.errors(head) for name, head in heads.items()}
    sizes = {name: len(frame) for name, frame in frames.items()}
    drawn = trial.uniform(core, pool, len(members))
    heads["uniform"], sizes["uniform"] = drawn[0], max(len(core), len(members))
    errors["uniform"] = np.mean([trial.errors(head) for head in drawn], axis=0)
    return {name: row(trial, heads[name], errors[name], errors["core"], sizes[name]) for name in errors}, errors


def unflagged(members: pl.DataFrame) -> pl.DataFrame:
    """Members whose label is not called wrong; all of them where none is left to train on."""
    kept = members.filter(~pl.col("flagged"))
    if kept.is_empty():
        logger.warning("every label of the set is called wrong: release_unflagged is the whole of it")
    return members if kept.is_empty() else kept


def row(trial: Trial, head: Head, errors: Errors, baseline: Errors, size: int) -> dict[str, float]:
    """One set's figures, and the paired difference to the baseline."""
    return {
        "size": size,
        "ridge": head.model.ridge,
        **head.model.accuracy,
        **trial.interval(errors),
        **trial.interval(errors - baseline, "difference"),
        "loo_error": head.loo_error,
    }


def rounds(trial: Trial, book: ledger.Ledger, core: pl.DataFrame, newest: Drawn) -> list[dict[str, object]]:
    """The sets after each round, beside uniform choices of equal size from the pool that the round drew from.

    ``newest`` is the choice that ``sets`` drew from the newest pool: a round of that pool and size has the same.
    """
    names = ledger.sets(book)
    found = [of_round(trial, name) for name in track(names, len(names), "rounds")]
    for told in track(found, len(found), "uniform choices"):
        if told["round"] in book.rounds:
            drawn = (book.rounds[str(told["round"])].pool, int(str(told["size"])))
            errors = newest.errors if drawn == newest[:2] else uniform(trial, core, *drawn)
            told |= trial.interval(errors, "uniform")
    return found


def uniform(trial: Trial, core: pl.DataFrame, pool: str, size: int) -> Errors:
    """Errors of the core and a uniform choice from a pool, together ``size`` samples; the mean of several draws."""
    heads = trial.uniform(core, index.read(paths.pool(pool)), size)
    errors: Errors = np.mean([trial.errors(head) for head in heads], axis=0)
    return errors


def of_round(trial: Trial, name: str) -> dict[str, object]:
    """Size and test error of the set after a round, without weights."""
    state = curated.read(name)
    members = state.filter(pl.col("status") == "member")
    counts = {"size": len(members), "added": int((state["round"] == name).sum() if name != "r000" else 0)}
    counts["removed"] = int(((state["status"] == "removed") & (state["changed_in"] == name)).sum())
    return {"round": name, **counts, **trial.interval(trial.errors(trial.train(members)))}


if __name__ == "__main__":
    run(main)
