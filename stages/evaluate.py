"""Stage ``evaluate``: what each training set is worth, by the test error of the same linear head; the planted truth."""

import logging
from collections.abc import Mapping

import numpy as np
import polars as pl
import torch

from diva.evaluation import Errors, Head, bootstrap, train_by_leave_one_out
from diva.reweight import reweight
from diva.store import curated, index, ledger, manifest, paths, release, tables
from stages import rows
from stages.command import run
from stages.params import section
from stages.params.evaluate import Evaluate
from stages.params.reweight import Reweight
from stages.planted import planted

logger = logging.getLogger(__name__)

HELD_OUT = (
    "No test set: errors are those of a held-out fold of the core, whose labels may be wrong and which took part in "
    "choosing; read them together with the leave-one-out errors."
)


class Trial:
    """Trains heads on frames of rows and tests them on one frame."""

    def __init__(self, settings: Evaluate, fit: rows.Fit, test: pl.DataFrame, classes: list[str], held: set[str]) -> None:
        self.settings, self.fit, self.classes, self.held = settings, fit, classes, held
        self.test = rows.prepared(test, classes, fit)
        self.grid = [entry["ridge"] for entry in fit.grid]

    def train(self, frame: pl.DataFrame, weights: torch.Tensor | None = None) -> Head:
        """The head of a training set, without what is held out."""
        kept = ~frame["sample_id"].is_in(list(self.held))
        alpha = None if weights is None else weights[torch.from_numpy(kept.to_numpy())]
        return train_by_leave_one_out(self.chunks(frame.filter(kept)), len(self.classes), self.grid, alpha)

    def chunks(self, frame: pl.DataFrame) -> rows.Prepared:
        """A frame's rows for the closed forms."""
        return rows.prepared(frame, self.classes, self.fit)

    def errors(self, head: Head) -> Errors:
        """1 where a test sample is misclassified."""
        return (~head.correct(self.test)).double().numpy()

    def interval(self, errors: Errors, key: str = "error") -> dict[str, float]:
        """Mean and bounds under the names of the metrics."""
        found = bootstrap(errors, self.settings.draws, self.settings.seed)
        prefix = "" if key == "error" else f"{key}_"
        return {key: found.mean, f"{prefix}low": found.low, f"{prefix}high": found.high}


def main() -> None:
    """data/metrics/evaluate.json."""
    settings, fit, book = section.read("evaluate", Evaluate), rows.read_fit(), ledger.read()
    core, pool = index.read(paths.CORE), index.read(paths.pool(ledger.newest_pool(book)))
    state = curated.read(book.latest)
    test, about, held = test_rows(core, fit, settings)
    trial = Trial(settings, fit, test, fit.with_classes(pl.concat([pool["label"], state["label"]])), held)
    metrics = {
        "test": about,
        "sets": sets(trial, core, pool, state),
        "rounds": [of_round(trial, name) for name in [ledger.ORIGIN["rounds"], *ledger.chain(book.rounds, "rounds")]],
        "planted": planted(state, [paths.truth(name) for name in ledger.order(book)]),
    }
    tables.write_json(paths.metrics("evaluate"), metrics)
    logger.info("test error of the core %(error).4f [%(low).4f, %(high).4f]", metrics["sets"]["core"])


def test_rows(core: pl.DataFrame, fit: rows.Fit, settings: Evaluate) -> tuple[pl.DataFrame, dict[str, object], set[str]]:
    """What tests, what to say about it, and which samples must not train for it."""
    test = index.index("test", manifest.read(paths.manifest("test")), paths.features("test"))
    known = test.filter(pl.col("label").is_in(fit.classes))
    if len(known):
        about = {"samples": len(known), "kind": "test", "caveat": "", "unknown_class": len(test) - len(known)}
        return known, about, set()
    order = np.random.default_rng(settings.seed).permutation(len(core))
    fold = core[sorted(order[: max(1, round(settings.held_out * len(core)))].tolist())]
    return fold, {"samples": len(fold), "kind": "held_out", "caveat": HELD_OUT, "unknown_class": 0}, set(fold["sample_id"])


def sets(trial: Trial, core: pl.DataFrame, pool: pl.DataFrame, state: pl.DataFrame) -> dict[str, dict[str, float]]:
    """The training sets side by side."""
    members = state.filter(pl.col("status") == "member")
    weights = tables.read(paths.WEIGHTS, release.WEIGHTS).select("sample_id", "weight")
    weight = members.join(weights, on="sample_id", how="left", maintain_order="left")["weight"].to_numpy()
    everything = pl.concat([core, pool])
    found = {
        "core": trial.train(core),
        "release_weighted": trial.train(members, torch.from_numpy(weight)),
        "release_unweighted": trial.train(members),
        "release_unflagged": trial.train(members.filter(~pl.col("flagged"))),
        "everything": trial.train(everything),
        "everything_reweighted": trial.train(everything, weights_of(trial, everything)),
    }
    errors = {name: trial.errors(head) for name, head in found.items()}
    sizes = {"core": len(core), "everything": len(everything), "everything_reweighted": len(everything)}
    sizes |= {name: len(members) for name in ("release_weighted", "release_unweighted")}
    sizes["release_unflagged"] = int((~members["flagged"]).sum())
    heads = uniform(trial, core, pool, len(members))
    errors["uniform"] = np.mean([trial.errors(head) for head in heads], axis=0)
    found["uniform"], sizes["uniform"] = heads[0], max(len(core), len(members))
    return {name: row(trial, name, found, errors, sizes[name]) for name in errors}


def row(
    trial: Trial, name: str, heads: Mapping[str, Head], errors: Mapping[str, Errors], size: int
) -> dict[str, float]:
    """One set's figures, and the paired difference to the core."""
    head, difference = heads[name], errors[name] - errors["core"]
    return {
        "size": size,
        "ridge": head.model.ridge,
        **trial.interval(errors[name]),
        **trial.interval(difference, "difference"),
        "loo_error": head.loo_error,
    }


def uniform(trial: Trial, core: pl.DataFrame, pool: pl.DataFrame, size: int) -> list[Head]:
    """Heads of the core and a uniform choice from the pool, as large as the release; several draws."""
    wanted = min(max(0, size - len(core)), len(pool))
    draws = trial.settings.uniform if 0 < wanted < len(pool) else 1
    generator = np.random.default_rng(trial.settings.seed)
    chosen = [sorted(generator.permutation(len(pool))[:wanted].tolist()) for _ in range(draws)]
    return [trial.train(pl.concat([core, pool[rows_]])) for rows_ in chosen]


def weights_of(trial: Trial, frame: pl.DataFrame) -> torch.Tensor:
    """Weights of a frame, as the stage ``reweight`` would choose them."""
    settings = section.read("reweight", Reweight)
    return reweight(
        trial.chunks(frame), len(trial.classes), trial.fit.ridge,
        loss=settings.loss, steps=settings.steps, step_size=settings.step_size, seed=settings.seed,
    ).weights  # fmt: skip


def of_round(trial: Trial, name: str) -> dict[str, object]:
    """Size and test error of the set after a round, without weights."""
    state = curated.read(name)
    members = state.filter(pl.col("status") == "member")
    counts = {"size": len(members), "added": int((state["round"] == name).sum() if name != "r000" else 0)}
    counts["removed"] = int(((state["status"] == "removed") & (state["changed_in"] == name)).sum())
    return {"round": name, **counts, **trial.interval(trial.errors(trial.train(members)))}


if __name__ == "__main__":
    run(main)
