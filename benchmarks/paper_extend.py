"""Table 2 and Fig. 4 of the paper: Extend against uniform choice, the test error after each tenth of the pool."""

import argparse
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy import RIDGES, Pack, from_arrays, split, wrong_labels
from benchmarks.jobs import Arrays, Workers, gathered, mean
from diva.curation.additions import RoundSettings
from diva.curation.extend import extend
from diva.numerics import products
from diva.numerics.chunks import Chunk, Subset
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import Prepared
from diva.numerics.ridge import Moments, moments

TENTHS = 10
RULES = {  # loss, who validates
    "hard_margin, members": ("hard_margin", "members"),
    "hard_margin, members_and_pool": ("hard_margin", "members_and_pool"),
    "calibrated, members_and_pool": ("calibrated", "members_and_pool"),
}


def extension(work: Workers, options: argparse.Namespace) -> dict[str, Any]:
    """Errors of the core and after each tenth of the pool, by rule; where Extend itself would stop."""
    human = "y_train_clean" in work.arrays  # whose wrong labels are in the pack
    levels = {"pool as given": 0.0} if human else {"clean pool": 0.0, "30% of the pool wrong": 0.3}
    draws = {level: -(-options.splits // (2 if share else 1)) for level, share in levels.items()}
    jobs = [(levels[level], seed) for level, count in draws.items() for seed in range(count)]
    found = iter(work.each(one_split, jobs))
    return {level: summary([next(found) for _ in range(count)]) for level, count in draws.items()}


def one_split(arrays: Arrays, share: float, seed: int) -> tuple[dict[str, list[float]], dict[str, dict[str, float]]]:
    """Curves by rule, and where each rule stops of itself, of one core and pool."""
    pack = from_arrays(arrays)
    core, pool = split(pack, seed)
    labels = wrong_labels(pack.y[pool], pack.classes, share, 1000 + seed)
    start, rest = pack.rows(core, pack.y[core]), pack.rows(pool, labels)
    choice, per_round, test = choose_ridge(start, pack.classes, RIDGES), max(1, len(pool) // TENTHS), list(pack.test)

    def followed_by(order: torch.Tensor) -> list[float]:
        return followed(test, pack, choice.moments, rest, choice.ridge, order, per_round)

    drawn = torch.as_tensor(np.random.default_rng(2000 + seed).permutation(len(pool)))
    curves, stops = {"uniform": followed_by(drawn)}, {}
    for rule, (loss, validate_on) in RULES.items():
        settings = RoundSettings(per_round, validate_on=validate_on, stop=False)
        additions = extend(choice.fit(), rest, loss=loss, settings=settings)
        curves[rule] = followed_by(additions.index)
        willing = next((i for i, each in enumerate(additions.history) if each.candidates < per_round), TENTHS)
        stops[rule] = {"round": willing, "error": curves[rule][min(willing, TENTHS)]}
    return curves, stops


def followed(
    test: list[Chunk], pack: Pack, sums: Moments, pool: Prepared, ridge: float, order: torch.Tensor, per_round: int
) -> list[float]:
    """Test errors in percent with 0, 1, … 10 tenths of the pool added in this order."""
    errors = [error(test, sums, ridge)]
    for turn in range(TENTHS):
        new = torch.zeros(pool.shape[0], dtype=torch.bool)
        stop = (turn + 1) * per_round if turn < TENTHS - 1 else len(order)
        new[order[turn * per_round : stop]] = True
        sums = sums + moments(Subset(pool, new), pack.classes)
        errors.append(error(test, sums, ridge))
    return errors


def error(test: list[Chunk], sums: Moments, ridge: float) -> float:
    """In percent, of the head alone: a factorisation and no inverse, a fifth of the time of `numerics.ridge.solve`."""
    shifted = sums.gram.clone()
    shifted.diagonal().add_(ridge)
    head = torch.cholesky_solve(sums.cross, torch.linalg.cholesky(shifted))
    wrong = [products.times(z, head.to(z)).argmax(1) != labels for z, labels, _ in test]
    return 100 * float(torch.cat(wrong).double().mean())


def summary(found: list[tuple[dict[str, list[float]], dict[str, dict[str, float]]]]) -> dict[str, Any]:
    """Means over the splits; gains over uniform choice at half of the pool, paired by split."""
    curves = {rule: np.array(rows) for rule, rows in gathered(curves for curves, _ in found).items()}
    half = {rule: rows[:, TENTHS // 2] for rule, rows in curves.items()}
    uniform = half.pop("uniform")
    return {
        "curves": {
            rule: {"mean": rows.mean(0).tolist(), "spread": rows.std(0).tolist()} for rule, rows in curves.items()
        },
        "at half": {
            rule: {"error": float(rows.mean()), **mean("gain", uniform - rows)} for rule, rows in half.items()
        },
        "uniform at half": float(uniform.mean()),
        "lowest": {
            rule: {"error": float(rows.mean(0).min()), "share of the pool": int(rows.mean(0).argmin()) / TENTHS,
                   "all": float(rows[:, -1].mean())}
            for rule, rows in curves.items()
        },
        "own stop": {
            rule: {**mean("error", [row["error"] for row in rows]),
                   "share of the pool": float(np.mean([row["round"] for row in rows])) / TENTHS}
            for rule, rows in gathered(stops for _, stops in found).items()
        },
    }  # fmt: skip
