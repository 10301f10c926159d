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
by more than one standard error is listed.
"""

import argparse
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch

from benchmarks import machine
from benchmarks.problems import Array, digits
from diva.curation.benefit import Members, hold_out
from diva.curation.detect import detect
from diva.curation.extend import extend
from diva.curation.learners import Answer, TrainingSet, answer, choose_penalty
from diva.curation.reweight import reweight
from diva.numerics.chunks import InMemory
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import Prepared
from diva.numerics.precision import RidgeFit
from diva.text.choices import Learner

FOLDER = Path("../shared/data/features")
ROWS = 3000  # of CIFAR-10N
GATED = ("flowers clean", "flowers uniform 20 %", "digits clean", "cifar10n human")  # packs and noise
WEIGHING: dict[str, Any] = {"loss": "calibrated", "step_size": 0.5}
NOISY = (("flowers", "uniform 20 %"), ("cifar10n", "human"))
KINDS = ("uniform 5 %", "uniform 20 %", "uniform 40 %", "one class 40 %", "a tenth of the classes 40 %", "clean")


def pack(name: str, folder: Path, seed: int) -> dict[str, Array]:
    """x_train, y_train, x_test, y_test and, of CIFAR-10N, y_train_clean; rows to unit length, codes 0..k−1."""
    if name == "digits":
        arrays = digits(seed)
    else:
        file = {"flowers": "flowers102_mobilenetv2.npz", "cifar10n": "cifar10n_random1_mobilenetv2.npz"}[name]
        with np.load(folder / file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files if key.startswith(("x_", "y_"))}
    if name == "cifar10n":
        some = np.random.default_rng([seed, ROWS]).permutation(len(arrays["y_train"]))[:ROWS]
        arrays |= {key: arrays[key][some] for key in ("x_train", "y_train", "y_train_clean")}
    names = np.unique(arrays["y_train"])
    seen = np.isin(arrays["y_test"], names)
    arrays["x_test"], arrays["y_test"] = arrays["x_test"][seen], arrays["y_test"][seen]
    for key in arrays:
        if key.startswith("y_"):
            arrays[key] = np.searchsorted(names, arrays[key])
        else:
            x = arrays[key].astype(np.float32)
            arrays[key] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return arrays


def noisy(labels: Array, kind: str, classes: int, seed: int) -> Array:
    """Labels of which some are changed to another class."""
    random = np.random.default_rng([seed, 1])
    if kind == "clean":
        return labels
    share = float(kind.split()[-2]) / 100
    if kind.startswith("uniform"):
        among = np.arange(len(labels))
    else:
        count = 1 if kind.startswith("one") else max(1, round(classes / 10))
        among = np.isin(labels, random.permutation(classes)[:count]).nonzero()[0]
    wrong = random.permutation(among)[: round(share * len(among))]
    changed = labels.copy()
    changed[wrong] = (labels[wrong] + random.integers(1, classes, len(wrong))) % classes
    return changed


def fitted(x: Array, y: Array, classes: int) -> RidgeFit:
    """The head, λ by leave-one-out."""
    chunks = Prepared(InMemory(torch.from_numpy(x), torch.from_numpy(y), 2048))
    return choose_ridge(chunks, classes).fit()


def f1(flagged: Array, wrong: Array) -> float:
    """Of what is called wrong."""
    return float(2 * (flagged & wrong).sum() / max(1, flagged.sum() + wrong.sum()))


def flags(folder: Path, seed: int) -> dict[str, float]:
    """F1 (of clean sets: the share flagged, in %) of the rule with classes, and of one rate for all."""
    figures = {}
    for name in ("digits", "flowers", "cifar10n"):
        arrays = pack(name, folder, seed)
        x, truth = in_their_span(arrays)[0], arrays.get("y_train_clean", arrays["y_train"])
        classes = int(truth.max()) + 1
        for kind in ("human",) if name == "cifar10n" else KINDS:
            labels = arrays["y_train"] if kind == "human" else noisy(truth, kind, classes, seed)
            start = fitted(x, labels, classes)
            for by_class in (True, False):
                flagged = detect(start, by_class=by_class).flagged.numpy()
                value = 100 * float(flagged.mean()) if kind == "clean" else f1(flagged, labels != truth)
                figures[f"{name}, {kind}, {'by class' if by_class else 'one rate'}"] = value
    return figures


def asked(sets: dict[str, TrainingSet], core: TrainingSet, arrays: dict[str, Array], seed: int) -> dict[str, float]:
    """Test error in % of each learner on each set; C by held-out rows of the core."""
    classes = int(core.labels.max()) + 1
    figures = {}
    penalties = {learner: (learner, choose_penalty(learner, core, seed)) for learner in get_args(Learner)}
    for shown, (learner, penalty) in {**penalties, "logistic C = 10": ("logistic", 10.0)}.items():
        for name, training in sets.items():
            c = choose_ridge(_chunks(training), classes).ridge if learner == "ridge" else penalty
            reply: Answer = answer(cast(Learner, learner), training, arrays["x_test"], penalty=c, seed=seed)
            figures[f"{shown}, {name}"] = 100 * float((reply.predicted != arrays["y_test"]).mean())
    return figures


def _chunks(training: TrainingSet) -> Prepared:
    return Prepared(InMemory(torch.from_numpy(training.features), torch.from_numpy(training.labels), 2048))


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
    for name, kind in (*NOISY, ("flowers", "clean"), ("digits", "uniform 20 %")):
        arrays = pack(name, folder, seed)
        truth = arrays.get("y_train_clean", arrays["y_train"])
        classes = int(truth.max()) + 1
        labels = arrays["y_train"] if kind == "human" else noisy(truth, kind, classes, seed)
        sets = released(arrays["x_train"], labels, classes, seed)
        right = labels == truth
        sets["oracle"] = TrainingSet(arrays["x_train"], labels).subset(right)
        figures |= {f"{name} {kind}: {key}": v for key, v in asked(sets, sets["all"], arrays, seed).items()}
    arrays = pack("flowers", folder, seed)
    classes = int(arrays["y_train"].max()) + 1
    core, pool = halves(arrays["y_train"], seed)
    x, labels = arrays["x_train"], arrays["y_train"].copy()
    labels[pool] = noisy(labels[pool], "uniform 30 %", classes, seed)
    start = fitted(x[core], labels[core], classes)
    rows = Prepared(InMemory(torch.from_numpy(x[pool]), torch.from_numpy(labels[pool]), 2048))
    added = pool[extend(start, rows).index.numpy()]
    uniform = np.random.default_rng([seed, 2]).permutation(pool)[: len(added)]
    members = np.concatenate([core, added])
    made, whole = released(x[members], labels[members], classes, seed), released(x, labels, classes, seed)
    sets = {
        "core": TrainingSet(x[core], labels[core]),
        "uniform": TrainingSet(*(part[np.concatenate([core, uniform])] for part in (x, labels))),
        "everything": whole["all"],
        "everything less flagged": whole["flagged out"],
        "everything less flagged, weights auto": whole["flagged out, weights auto"],
        "extend": made["all"],
        "release": made["flagged out"],
        "release, weights auto": made["flagged out, weights auto"],
    }
    return figures | {f"extend: {key}": v for key, v in asked(sets, sets["core"], arrays, seed).items()}


def halves(labels: Array, seed: int) -> tuple[Array, Array]:
    """Core and pool: of each class the first half of a permutation, and the rest."""
    random = np.random.default_rng(seed)
    order = [random.permutation((labels == c).nonzero()[0]) for c in np.unique(labels)]
    return np.concatenate([o[: len(o) // 2] for o in order]), np.concatenate([o[len(o) // 2 :] for o in order])


def gate(folder: Path, seed: int, sets: Sequence[str] = GATED) -> dict[str, float]:
    """Whether weights are kept (1 or 0), and how much they lower the test error of each learner and of all."""
    figures: dict[str, float] = {}
    for about in sets:
        name, _, kind = about.partition(" ")
        arrays = pack(name, folder, seed)
        truth = arrays.get("y_train_clean", arrays["y_train"])
        classes = int(truth.max()) + 1
        labels = arrays["y_train"] if kind == "human" else noisy(truth, kind, classes, seed)
        turned, test = in_their_span(arrays)
        start = fitted(turned, labels, classes)
        flagged = detect(start).flagged
        result = reweight(start, steps="auto", seed=seed, **WEIGHING)
        members = Members(start.chunks, classes, start.ridge, torch.ones(len(labels), dtype=torch.bool), flagged)
        benefit = hold_out(members, 5, seed, flagged_out=True, steps=len(result.history), **WEIGHING).figures()
        stays, weights, gains = ~flagged.numpy(), result.weights.numpy(), {}
        for learner in get_args(Learner):
            x, x_test = (arrays["x_train"], arrays["x_test"]) if learner == "mlp" else (turned, test)
            core = TrainingSet(x, labels)
            c = start.ridge if learner == "ridge" else choose_penalty(learner, core, seed)
            both = core.subset(stays), TrainingSet(x, labels, weights).subset(stays)
            wrong = [answer(learner, some, x_test, penalty=c, seed=seed).predicted != arrays["y_test"] for some in both]
            gains[learner] = 100 * float(wrong[0].mean() - wrong[1].mean())
        figures |= {
            f"{about}: kept": float(benefit["gain"] > benefit["standard_error"]),
            f"{about}: test gain": float(np.mean(list(gains.values()))),
            f"{about}: held-out gain": 100 * benefit["gain"],
            f"{about}: standard error": 100 * benefit["standard_error"],
            **{f"{about}: test gain of {learner}": gain for learner, gain in gains.items()},
        }
    return figures


def in_their_span(arrays: dict[str, Array]) -> tuple[Array, Array]:
    """Training and test rows in an orthonormal basis of the training rows, where these are fewer than their features.

    Linear learners and neighbours predict the same, in less time; not so the MLP, whose start sees every direction.
    """
    x, test = arrays["x_train"], arrays["x_test"]
    if len(x) >= x.shape[1]:
        return x, test
    basis = np.linalg.qr(x.T.astype(np.float64))[0]
    return (x @ basis).astype(np.float32), (test @ basis).astype(np.float32)


def gate_summary(draws: list[dict[str, float]]) -> list[str]:
    """What must hold of ``gate``: what weights that are kept do, and whether those that gain a point are kept."""
    lines = []
    for key in draws[0]:
        about, _, figure = key.rpartition(": ")
        if figure == "kept":
            pairs = [(draw[key] > 0, draw[f"{about}: test gain"]) for draw in draws]
            gains = [gain for was, gain in pairs if was]
            good = [was for was, gain in pairs if gain >= 1]
            mean = f"{np.mean(gains):+.2f} ± {np.std(gains):.2f} points, the least {min(gains):+.2f}" if gains else "–"
            shown = f"{sum(good)} of {len(good)} draws in which they gain 1 point or more"
            lines.append(f"{about}: kept in {len(gains)} of {len(pairs)} draws, where they gain {mean}; in {shown}")
    return lines


def neighbours(folder: Path, seed: int) -> dict[str, float]:
    """How many neighbours are few enough to gain by rows without wrong labels."""
    figures: dict[str, float] = {}
    for name in ("digits", "flowers"):
        arrays = pack(name, folder, seed)
        truth, (x, test) = arrays["y_train"], in_their_span(arrays)
        classes = int(truth.max()) + 1
        labels = noisy(truth, "uniform 20 %", classes, seed)
        stays = ~detect(fitted(x, labels, classes)).flagged.numpy()
        for count in (1, 3, 5, 10, 15):
            for set_, rows in (("all", np.ones(len(x), bool)), ("flagged out", stays), ("oracle", labels == truth)):
                wrong = _votes(x[rows], labels[rows], test, count, classes).argmax(1) != arrays["y_test"]
                figures[f"{name}: {count} neighbours, {set_}"] = 100 * float(wrong.mean())
    return figures


def _votes(x: Array, labels: Array, test: Array, count: int, classes: int) -> Array:
    nearest = np.argpartition((x * x).sum(1) - 2 * test @ x.T, count - 1, axis=1)[:, :count]
    return np.stack([(labels[nearest] == c).sum(1) for c in range(classes)], axis=1)


def summarised(draws: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each figure over draws."""
    return {
        key: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}
        for key in draws[0]
        for values in [[draw[key] for draw in draws]]
    }


def worse(draws: list[dict[str, float]]) -> list[str]:
    """Cells in which a release is worse than doing nothing by more than one standard error of the difference."""
    pairs: Iterable[tuple[str, str]] = itertools.chain(
        ((f"flagged out{end}", "all") for end in ("", ", weights auto")),
        ((name, base) for name in ("release", "release, weights auto") for base in ("core", "everything")),
    )
    listed = []
    for name, base in pairs:
        for key in draws[0]:
            learner, _, set_ = key.partition(", ")
            if set_ == name and f"{learner}, {base}" in draws[0]:
                differences = np.array([draw[key] - draw[f"{learner}, {base}"] for draw in draws])
                error = differences.std(ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else np.inf
                if differences.mean() > error:
                    listed.append(f"{key} − {base}: {differences.mean():+.2f} ± {error:.2f}")
    return listed


def criteria() -> list[tuple[str, str, float]]:
    """What must hold of ``sets``: a cell, another, and by how many points the first's mean error must be lower."""
    release, demands = "flagged out, weights auto", []
    for (name, kind), gains in zip(NOISY, ({}, {"ridge": 0.0}), strict=True):
        about = f"{name} {kind}: "
        for learner in ("ridge", "logistic", "svm", "mlp"):
            demands.append((f"{about}{learner}, {release}", f"{about}{learner}, all", gains.get(learner, 1.0)))
        for learner in ("logistic C = 10", "svm"):
            demands.append((f"{about}{learner}, {release}", f"{about}{learner}, oracle", -1.5))
    for learner, other in itertools.product(get_args(Learner), ("uniform", "everything")):
        demands.append((f"extend: {learner}, release, weights auto", f"extend: {learner}, {other}", 0.0))
    return demands


def differences(draws: list[dict[str, float]], cell: str, base: str) -> tuple[float, float]:
    """Mean and standard deviation over draws of how much lower the error of a cell is than that of another."""
    values = np.array([draw[base] - draw[cell] for draw in draws])
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else 0.0


def passes(draws: list[dict[str, float]]) -> list[str]:
    """Each criterion of ``sets`` with its figure."""
    lines = []
    for cell, base, least in criteria():
        if cell in draws[0]:
            mean, deviation = differences(draws, cell, base)
            about = f"{cell} is lower than {base.rpartition(': ')[2]} by {least:+.1f} or more"
            lines.append(f"{'pass' if mean >= least else 'MISS'}  {about}: {mean:+.2f} ± {deviation:.2f}")
    return lines


def by_steps(draws: list[dict[str, float]]) -> list[str]:
    """How much lower the error is with `steps: auto` than with 3 steps, and in how many cells."""
    cells = [key for key in draws[0] if key.endswith("weights auto") and key.replace("auto", "3") in draws[0]]
    gains = {key: differences(draws, key, key.replace("auto", "3")) for key in cells}
    lines = [f"{key} than 3 steps: {mean:+.2f} ± {deviation:.2f}" for key, (mean, deviation) in gains.items()]
    return [*lines, f"{sum(mean >= 0 for mean, _ in gains.values())} of {len(gains)} not worse"]


TABLES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "flags": flags,
    "sets": panel,
    "gate": gate,
    "neighbours": neighbours,
}


def main() -> None:
    """One table, printed and written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--features", type=Path, default=FOLDER)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="seed, of those that follow one another")
    parser.add_argument("--sets", nargs="+", choices=GATED, default=GATED, help="of gate")
    parser.add_argument("--out", type=Path)
    told = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    draws: list[dict[str, float]] = []
    measure = partial(gate, sets=told.sets) if told.table == "gate" else TABLES[told.table]
    for seed in range(told.first, told.first + told.seeds):
        draws.append(measure(told.features, seed))
        print(json.dumps({"seed": seed, **{key: round(value, 3) for key, value in draws[-1].items()}}), flush=True)
        content: dict[str, Any] = {
            "machine": machine.description(),
            "seeds": len(draws),
            "figures": summarised(draws),
            "criteria": passes(draws),
            "steps": by_steps(draws),
            "worse": worse(draws),
            "gate": gate_summary(draws),
        }
        if told.out:
            told.out.write_text(json.dumps(content | {"draws": draws}, indent=1) + "\n", encoding="utf-8")
    for key, value in content["figures"].items():
        print(f"{key:60} {value['mean']:8.3f} ± {value['sd']:.3f}")
    for title in ("criteria", "steps", "worse", "gate"):
        print("worse than doing nothing:" if title == "worse" else f"{title}:", *content[title], sep="\n  ")


if __name__ == "__main__":
    main()
