"""Curated sets judged by several learners, and by whether they ever do worse than doing nothing.

    python -m benchmarks.panel flags | sets | gate | neighbours  [--features FOLDER] [--seeds N] [--first SEED]
                              [--sets NAME ...] [--out FILE]

    flags  F1 of the flag rule: digits, Flowers-102, CIFAR-10N, noise of several kinds; share flagged where clean
    sets   test error of the learners on all rows, flagged out, flagged out with weights, and a clean oracle; Extend
           with 30 % of the pool wrong, beside a uniform choice, everything and everything less flagged; whether what
           must hold does, and 3 steps of Reweight beside `auto`
    gate   whether weights are kept (`release.weights: auto`), and what keeping them does to the panel's test error
           (mean of the five learners), of some sets or of all
    neighbours  test error of votes of 1 to 15 neighbours on all rows, flagged out, and a clean oracle, 20 % wrong

Each table is the mean and the standard deviation over seeds; each cell in which the release is worse than doing nothing
by more than one standard error is listed. Draws that FILE holds already stay, but for figures of the same seed.
"""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from sklearn.metrics import f1_score
from sklearn.neighbors import KNeighborsClassifier

from benchmarks import machine
from benchmarks.criteria import by_steps, gate_verdict, passes, summarised, worse
from benchmarks.problems import Array, Problem, draw, fitted, halves, mislabelled, prepared
from diva.curation.benefit import Members, hold_out
from diva.curation.detect import detect
from diva.curation.extend import extend
from diva.curation.learners import TRAINERS, TrainingSet, answer, choose_penalty
from diva.curation.reweight import reweight
from diva.numerics.grid import choose_ridge
from diva.text.choices import Learner

FOLDER = Path("../shared/data/features")
GATED = ("flowers clean", "flowers uniform 20 %", "digits clean", "cifar10n human")
JUDGED = ("flowers uniform 20 %", "cifar10n human", "flowers clean", "digits uniform 20 %")
KINDS = ("uniform 5 %", "uniform 20 %", "uniform 40 %", "one class 40 %", "a tenth of the classes 40 %", "clean")
WEIGHING: dict[str, Any] = {"loss": "calibrated", "step_size": 0.5}


def flags(folder: Path, seed: int) -> dict[str, float]:
    """F1 (of clean sets: the share flagged, in %) of the rule with classes, and of one rate for all."""
    figures = {}
    for about in (*(f"{name} {kind}" for name in ("digits", "flowers") for kind in KINDS), "cifar10n human"):
        pack = draw(about, folder, seed).in_its_span()
        start = fitted(pack.x, pack.y, pack.classes)
        for by_class in (True, False):
            flagged = detect(start, by_class=by_class).flagged.numpy()
            shown = f"{about.replace(' ', ', ', 1)}, {'by class' if by_class else 'one rate'}"
            figures[shown] = f1_score(pack.wrong, flagged) if pack.wrong.any() else 100 * float(flagged.mean())
    return figures


def errors(sets: dict[str, TrainingSet], core: TrainingSet, test: Problem, seed: int) -> dict[str, float]:
    """Test error in % of each learner on each set; C by held-out rows of the core."""
    figures = {}
    penalties = {learner: (learner, choose_penalty(learner, core, seed)) for learner in TRAINERS}
    for shown, (learner, penalty) in {**penalties, "logistic C = 10": ("logistic", 10.0)}.items():
        for name, training in sets.items():
            rows = prepared(training.features, training.labels)
            c = choose_ridge(rows, test.classes).ridge if learner == "ridge" else penalty
            predicted = answer(cast(Learner, learner), training, test.x_test, penalty=c, seed=seed).predicted
            figures[f"{shown}, {name}"] = 100 * float((predicted != test.y_test).mean())
    return figures


def released(x: Array, y: Array, classes: int, seed: int) -> dict[str, TrainingSet]:
    """The set as delivered, without what is called wrong, and with weights on the rest."""
    start = fitted(x, y, classes)
    stays = ~detect(start).flagged.numpy()
    whole = TrainingSet(x, y)
    sets = {"all": whole, "flagged out": whole.subset(stays)}
    for steps in (3, "auto"):
        weights = reweight(start, steps=cast(Any, steps), seed=seed, **WEIGHING).weights.numpy()
        sets[f"all, weights {steps}"] = TrainingSet(x, y, weights)
        sets[f"flagged out, weights {steps}"] = TrainingSet(x, y, weights).subset(stays)
    return sets


def panel(folder: Path, seed: int) -> dict[str, float]:
    """Five learners on what Detect and Reweight make of noisy sets, and on what Extend chooses."""
    figures: dict[str, float] = {}
    for about in JUDGED:
        pack = draw(about, folder, seed)
        sets = released(pack.x, pack.y, pack.classes, seed)
        sets["oracle"] = sets["all"].subset(~pack.wrong)
        figures |= {f"{about}: {key}": value for key, value in errors(sets, sets["all"], pack, seed).items()}
    return figures | {f"extend: {key}": value for key, value in extended(folder, seed).items()}


def extended(folder: Path, seed: int) -> dict[str, float]:
    """Five learners on what Extend chooses of a pool of which 30 % are wrong, and on what else could train."""
    pack = draw("flowers clean", folder, seed)
    core, pool = halves(pack.y, seed)
    x, labels, k = pack.x, pack.y.copy(), pack.classes
    labels[pool] = mislabelled(labels[pool], "uniform 30 %", k, seed)
    added = pool[extend(fitted(x[core], labels[core], k), prepared(x[pool], labels[pool])).index.numpy()]
    uniform = np.random.default_rng([seed, 2]).permutation(pool)[: len(added)]
    members = np.concatenate([core, added])
    made, whole = released(x[members], labels[members], k, seed), released(x, labels, k, seed)
    sets = {
        "core": whole["all"].subset(core),
        "uniform": whole["all"].subset(np.concatenate([core, uniform])),
        "everything": whole["all"],
        "everything less flagged": whole["flagged out"],
        "everything less flagged, weights auto": whole["flagged out, weights auto"],
        "extend": made["all"],
        "release": made["flagged out"],
        "release, weights auto": made["flagged out, weights auto"],
    }
    return errors(sets, sets["core"], pack, seed)


def gate(folder: Path, seed: int, sets: Sequence[str] = GATED) -> dict[str, float]:
    """Whether weights are kept (1 or 0), and how much they lower the test error of each learner and of all."""
    figures: dict[str, float] = {}
    for about in sets:
        pack = draw(about, folder, seed)
        turned, classes = pack.in_its_span(), pack.classes
        start = fitted(turned.x, pack.y, classes)
        flagged = detect(start).flagged
        result = reweight(start, steps="auto", seed=seed, **WEIGHING)
        members = Members(start.chunks, classes, start.ridge, torch.ones(len(pack.y), dtype=torch.bool), flagged)
        benefit = hold_out(members, 5, seed, flagged_out=True, steps=len(result.history), **WEIGHING).figures()
        stays, weights, gains = ~flagged.numpy(), result.weights.numpy(), {}
        for learner in TRAINERS:
            rows = pack if learner == "mlp" else turned
            core = TrainingSet(rows.x, pack.y)
            c = start.ridge if learner == "ridge" else choose_penalty(learner, core, seed)
            both = core.subset(stays), TrainingSet(rows.x, pack.y, weights).subset(stays)
            wrong = [answer(learner, some, rows.x_test, penalty=c, seed=seed).predicted != pack.y_test for some in both]
            gains[learner] = 100 * float(wrong[0].mean() - wrong[1].mean())
        figures |= {
            f"{about}: kept": float(benefit["gain"] > benefit["standard_error"]),
            f"{about}: test gain": float(np.mean(list(gains.values()))),
            f"{about}: held-out gain": 100 * benefit["gain"],
            f"{about}: standard error": 100 * benefit["standard_error"],
            **{f"{about}: test gain of {learner}": gain for learner, gain in gains.items()},
        }
    return figures


def neighbours(folder: Path, seed: int) -> dict[str, float]:
    """How many neighbours are few enough to gain by rows without wrong labels."""
    figures: dict[str, float] = {}
    for name in ("digits", "flowers"):
        pack = draw(f"{name} uniform 20 %", folder, seed).in_its_span()
        stays = ~detect(fitted(pack.x, pack.y, pack.classes)).flagged.numpy()
        for count in (1, 3, 5, 10, 15):
            for set_, rows in (("all", np.ones(len(stays), bool)), ("flagged out", stays), ("oracle", ~pack.wrong)):
                vote = KNeighborsClassifier(count).fit(pack.x[rows], pack.y[rows])
                figures[f"{name}: {count} neighbours, {set_}"] = 100 * (1 - vote.score(pack.x_test, pack.y_test))
    return figures


TABLES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "flags": flags,
    "sets": panel,
    "gate": gate,
    "neighbours": neighbours,
}
VERDICTS = {"criteria": passes, "steps": by_steps, "worse than doing nothing": worse, "gate": gate_verdict}


def main() -> None:
    """One table, printed and written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--features", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed, of those that follow one another")
    parser.add_argument("--sets", nargs="+", choices=GATED, default=GATED, help="of gate")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    measure = partial(gate, sets=options.sets) if options.table == "gate" else TABLES[options.table]
    draws: dict[str, dict[str, float]] = {}  # by seed
    if options.out and options.out.exists():
        draws = json.loads(options.out.read_text(encoding="utf-8"))["draws"]
    for seed in range(options.first, options.first + options.seeds):
        made = measure(options.features, seed)
        draws[str(seed)] = draws.get(str(seed), {}) | made
        print(json.dumps({"seed": seed, **{key: round(value, 3) for key, value in made.items()}}), flush=True)
        if options.out:
            options.out.write_text(json.dumps(described(draws), indent=1) + "\n", encoding="utf-8")
    content = described(draws)
    for key, value in content["figures"].items():
        print(f"{key:60} {value['mean']:8.3f} ± {value['sd']:.3f}")
    for title in VERDICTS:
        print(f"{title}:", *content.get(title, ()), sep="\n  ")


def described(draws: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The draws (by seed) with means, what must hold, and what they were measured on."""
    made = list(draws.values())
    said = {title: lines for title, verdict in VERDICTS.items() if (lines := verdict(made))}
    return {"machine": machine.description(), "seeds": len(draws), "figures": summarised(made), **said, "draws": draws}


if __name__ == "__main__":
    main()
