"""Every experiment of the paper on one data set, beside the paper's own figures where the data set is the same.

    python -m benchmarks.paper [--features FILE.npz|digits] [--seeds 5] [--splits 10] [--only NAME …] [--out FILE.json]
    python -m benchmarks.paper --data dataset:NAME[@ROOT]|FOLDER [--test FOLDER] [--network resnet34] [--weights …]

table1        test error of Reweight by the paper's rule and by ours, and of both baselines, at 0 and 20 % wrong labels
extend        Table 2 and Fig. 4: Extend against uniform choice, the error after each tenth of the pool
detection     Fig. 3: the derivative of right and of wrong labels, AUC, F1 of ε = 0 and of the rule that knows no rate
augmentation  Fig. 5: the share of the weight that flips get; needs images (or digits, or a pack of benchmarks.images)
multimodal    Fig. 5: names of classes added to 20 images a class; needs CLIP's two towers (--network open_clip:…)
overfitting   the appendix: leave-one-out error and test error against the steps of Reweight

What cannot run says what it lacks. λ is chosen by leave-one-out error from {.01, .03, .1, .3, 1, 3} on the rows one
starts from. --out also writes FILE.png. Means over the seeds (of the planted noise) or splits, with the deviation.
"""

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score, roc_auc_score

from benchmarks import baselines, paper_tables, problems
from benchmarks.accuracy import RIDGES, Pack, from_arrays, split, wrong_labels
from benchmarks.machine import description
from diva.augment import augment, choose_block_ridge
from diva.blocks import Interleaved
from diva.chunks import InMemory, Subset
from diva.derivative import dataset_derivative
from diva.detect import detect
from diva.evaluation import Head
from diva.extend import extend
from diva.loo import choose_ridge, leave_one_out
from diva.multimodal import curve
from diva.normalize import Prepared
from diva.reweight import prepare_loss, reweight, step
from diva.ridge import Moments, moments, solve, weighted

NOISE = 0.2
STEPS = 15  # of the overfitting plot
RULES = {  # of Extend: loss, who validates
    "hard_margin, members": ("hard_margin", "members"),
    "hard_margin, members_and_pool": ("hard_margin", "members_and_pool"),
    "calibrated, members_and_pool": ("calibrated", "members_and_pool"),
}
Arrays = dict[str, np.ndarray]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", help="FILE.npz, or digits")
    parser.add_argument("--data", help="SOURCE of images, see benchmarks.images")
    parser.add_argument("--test", help="its test images, where it has no part `test`")
    parser.add_argument("--network", default="resnet34")
    parser.add_argument("--weights", default="DEFAULT")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--only", nargs="*", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    name, arrays = read(options)
    result: dict[str, Any] = about(name, arrays) | {"seconds": {}}
    for experiment in options.only:
        start = time.perf_counter()
        result[experiment] = EXPERIMENTS[experiment](arrays, options)
        result["seconds"][experiment] = round(time.perf_counter() - start, 1)
        print("\n".join(paper_tables.told(experiment, result)), flush=True)
        if options.out:  # after each, so that what was measured is not lost
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.out:
        from benchmarks import paper_figures  # matplotlib

        paper_figures.draw(result, options.out.with_suffix(".png"))


def read(options: argparse.Namespace) -> tuple[str, Arrays]:
    """A name, and the arrays of a pack; digits come with their flips."""
    if options.data:
        from benchmarks import images

        path = Path(cached(options))
        if not path.is_file():
            images.write(
                path, options.data, options.test, options.network, options.weights, ["horizontal_flip", "vertical_flip"]
            )
        options.features = str(path)
    features = options.features or "digits"
    arrays = problems.load(features)
    if features == "digits":
        pixels = arrays["x_train"].reshape(-1, 8, 8)
        arrays |= {"x_train_horizontal_flip": pixels[:, :, ::-1], "x_train_vertical_flip": pixels[:, ::-1]}
        arrays = {key: x.reshape(len(x), -1) if x.ndim > 2 else x for key, x in arrays.items()}
    return Path(features).stem, arrays


def cached(options: argparse.Namespace) -> str:
    """The name of the pack of --data, in the folder one is in: another for each source, test, network and weights."""
    name = Path(options.data.removeprefix("dataset:").partition("@")[0]).name
    made_of = json.dumps([options.data, options.test, options.network, options.weights])
    told = re.sub(r"[^\w.-]+", "-", f"{name}_{options.network}")[:80]
    return f"{told}_{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.npz"


def about(name: str, arrays: Arrays) -> dict[str, Any]:
    """The data set, and how this differs from the paper's set-up."""
    pack = from_arrays(arrays)
    known = next((key for key in paper_tables.PAPER if name.startswith(key)), None)
    shape = {"train": len(pack.y), "test": pack.test.shape[0], "classes": pack.classes, "features": pack.x.shape[1]}
    return {"pack": name, **shape, "machine": description(), "paper": paper_tables.PAPER.get(known or "")}


def each_noise(pack: Pack, arrays: Arrays, seeds: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Levels of noise with their draws of labels; real wrong labels, where there are any, are the only level."""
    if "y_train_clean" in arrays:
        yield "as given", [pack.y]
        return
    for share in (0.0, NOISE):
        yield f"{share:.0%} wrong", [wrong_labels(pack.y, pack.classes, share, s) for s in range(seeds if share else 1)]


def table1(arrays: Arrays, options: argparse.Namespace) -> dict[str, Any]:
    """Test errors before and after Reweight, and of the baselines."""
    pack, found = from_arrays(arrays), dict[str, Any]()
    known = np.isin(arrays["y_test"], np.unique(arrays["y_train"]))
    test = torch.as_tensor(arrays["x_test"][known]).float(), torch.as_tensor(parts(pack.test))
    for level, draws in each_noise(pack, arrays, options.seeds):
        errors: dict[str, list[float]] = {}
        settings = {name: baselines.tune(pack.x, draws[0], pack.classes, name) for name in baselines.BASELINES}
        for seed, y in enumerate(draws):
            rows = pack.rows(np.arange(len(y)), y)
            ridge = choose_ridge(rows, pack.classes, RIDGES).ridge
            errors.setdefault("ridge regression", []).append(pack.error(rows, ridge))
            for loss, steps in (("hard_margin", 3), ("calibrated", 3), ("calibrated", "auto")):
                weights = reweight(rows, pack.classes, ridge, loss=loss, steps=steps).weights
                errors.setdefault(f"Reweight, {loss}, {steps} steps", []).append(pack.error(rows, ridge, weights))
            for name, setting in settings.items():
                trained = baselines.train(pack.x, y, pack.classes, name, setting, seed)
                errors.setdefault(name, []).append(trained.error(*test))
        found[level] = {name: with_gain(name, errors) for name in errors}
        found[level]["tuned"] = {name: {"lr": lr, "epochs": epochs} for name, (lr, epochs) in settings.items()}
    return found


def with_gain(name: str, errors: dict[str, list[float]]) -> dict[str, float]:
    """A row of the table; each method against the unweighted model of its own kind."""
    ground = "softmax regression" if name in baselines.BASELINES else "ridge regression"
    return {**mean("error", errors[name]), **mean("gain", np.array(errors[ground]) - np.array(errors[name]))}


def parts(chunks: Prepared) -> np.ndarray:
    """All labels."""
    return np.concatenate([labels.numpy() for _, labels, _ in chunks])


def mean(name: str, values: Any) -> dict[str, float]:
    """Mean and deviation under the names of the results."""
    values = np.asarray(values, dtype=float)
    return {name: float(values.mean()), f"{name}_spread": float(values.std(ddof=1)) if len(values) > 1 else 0.0}


def extension(arrays: Arrays, options: argparse.Namespace) -> dict[str, Any]:
    """Errors of the core and after each tenth of the pool, by rule; where Extend itself would stop."""
    pack, found = from_arrays(arrays), dict[str, Any]()
    shares = {"clean pool": 0.0} if "y_train_clean" in arrays else {"clean pool": 0.0, "30% of the pool wrong": 0.3}
    for level, share in shares.items():
        curves: dict[str, list[list[float]]] = {}
        stops: dict[str, list[dict[str, float]]] = {}
        for seed in range(options.splits if not share else -(-options.splits // 2)):
            core, pool = split(pack, seed)
            labels = wrong_labels(pack.y[pool], pack.classes, share, 1000 + seed)
            start, rest = pack.rows(core, pack.y[core]), pack.rows(pool, labels)
            ridge = choose_ridge(start, pack.classes, RIDGES).ridge
            sums, per_round = moments(start, pack.classes), max(1, len(pool) // 10)
            drawn = torch.as_tensor(np.random.default_rng(2000 + seed).permutation(len(pool)))
            curves.setdefault("uniform", []).append(followed(pack, sums, rest, ridge, drawn, per_round))
            for rule, (loss, validate_on) in RULES.items():
                options_of = {"loss": loss, "validate_on": validate_on, "per_round": per_round, "stop": False}
                turns = extend(start, rest, pack.classes, ridge, **options_of)
                curves.setdefault(rule, []).append(followed(pack, sums, rest, ridge, turns.index, per_round))
                willing = next((i for i, turn in enumerate(turns.history) if turn.candidates < per_round), 10)
                stops.setdefault(rule, []).append({"round": willing, "error": curves[rule][-1][min(willing, 10)]})
        found[level] = summary_of_curves(curves, stops)
    return found


def followed(
    pack: Pack, sums: Moments, pool: Prepared, ridge: float, order: torch.Tensor, per_round: int
) -> list[float]:
    """Test errors in percent with 0, 1, … 10 tenths of the pool added in this order."""
    errors = []
    for turn in range(11):
        head = Head(solve(sums, ridge), float("nan"))
        errors.append(100 * float((~head.correct(pack.test)).double().mean()))
        new = torch.zeros(pool.shape[0], dtype=torch.bool)
        stop = (turn + 1) * per_round if turn < 9 else len(order)
        new[order[turn * per_round : stop]] = True
        sums = sums + moments(Subset(pool, new), pack.classes)
    return errors


def summary_of_curves(curves: dict[str, list[list[float]]], stops: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Means over the splits; gains over uniform choice at half of the pool, paired by split."""
    arrays = {rule: np.array(rows) for rule, rows in curves.items()}
    half = {rule: rows[:, 5] for rule, rows in arrays.items()}
    uniform = half.pop("uniform")
    return {
        "curves": {
            rule: {"mean": rows.mean(0).tolist(), "spread": rows.std(0).tolist()} for rule, rows in arrays.items()
        },
        "at half": {
            rule: {"error": float(rows.mean()), **mean("gain", uniform - rows)} for rule, rows in half.items()
        },
        "uniform at half": float(uniform.mean()),
        "lowest": {
            rule: {"error": float(rows.mean(0).min()), "share of the pool": int(rows.mean(0).argmin()) / 10,
                   "all": float(rows[:, -1].mean())}
            for rule, rows in arrays.items()
        },
        "own stop": {
            rule: {**mean("error", [row["error"] for row in rows]),
                   "share of the pool": float(np.mean([row["round"] for row in rows])) / 10}
            for rule, rows in stops.items()
        },
    }  # fmt: skip


def detection(arrays: Arrays, options: argparse.Namespace) -> dict[str, Any]:
    """The derivative of right and wrong labels; F1 and AUC of the paper's and of our rule."""
    pack, rows = from_arrays(arrays), list[dict[str, float]]()
    real = np.unique(arrays["y_train_clean"], return_inverse=True)[1] if "y_train_clean" in arrays else None
    histogram: dict[str, Any] = {}
    for seed in range(1 if real is not None else options.seeds):
        y = pack.y if real is not None else wrong_labels(pack.y, pack.classes, NOISE, seed)
        wrong = y != (pack.y if real is None else real)
        data = pack.rows(np.arange(len(y)), y)
        ridge = choose_ridge(data, pack.classes, RIDGES).ridge
        theirs = detect(data, pack.classes, ridge, score="derivative", rule="derivative")
        ours = detect(data, pack.classes, ridge)
        rows.append(
            {
                "auc of the derivative": roc_auc_score(wrong, theirs.score),
                "f1 at 0": f1_score(wrong, theirs.flagged),
                "auc of soft": roc_auc_score(wrong, ours.score),
                "f1 of the rule rate": f1_score(wrong, ours.flagged),
            }
        )
        if not histogram:
            edges = np.linspace(*np.quantile(theirs.score.numpy(), [0.005, 0.995]), 41)
            counts = {"right": theirs.score.numpy()[~wrong], "wrong": theirs.score.numpy()[wrong]}
            histogram = {key: np.histogram(values, edges)[0].tolist() for key, values in counts.items()}
            histogram["edges"] = edges.tolist()
    found = {name: mean("mean", [row[name] for row in rows]) for name in rows[0]}
    return {**found, "wrong": float(wrong.mean()), "histogram": histogram}


def augmentation(arrays: Arrays, options: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001 - as the others
    """The share of the weight that each variant gets, with the images alone and with all validating."""
    names = ["identity", *(key.removeprefix("x_train_") for key in arrays if key.startswith("x_train_"))]
    if len(names) == 1:
        return {"lacks": "variants of the images: make a pack with `python -m benchmarks.images --variants …`"}
    pack = from_arrays(arrays)
    files = [arrays["x_train" if name == "identity" else f"x_train_{name}"] for name in names]
    union = Interleaved([Prepared(InMemory(x, pack.y, 1024)) for x in files])
    ridge = choose_block_ridge(union, pack.classes, RIDGES, len(names))
    found: dict[str, Any] = {"ridge": ridge}
    for loss, validate_on in (
        ("hard_margin", "untransformed"),
        ("calibrated", "untransformed"),
        ("hard_margin", "all"),
    ):
        draws = 10 if validate_on == "untransformed" else 0
        worth = augment(
            union, pack.classes, ridge, variants=len(names), loss=loss, validate_on=validate_on, draws=draws
        )  # fmt: skip
        spread = worth.drawn.std(0).tolist() if draws else [0.0] * len(names)
        shares = zip(names, worth.union.probabilities.tolist(), spread, worth.errors.tolist(), strict=True)
        found[f"{loss}, {validate_on} validating"] = {
            name: {"probability": share, "spread": deviation, "loo_error": 100 * error}
            for name, share, deviation, error in shares
        }
    return found


def multimodal(arrays: Arrays, options: argparse.Namespace, shots: int = 20) -> dict[str, Any]:
    """Test error while names of classes are added to few images."""
    if "x_names" not in arrays:
        return {
            "lacks": "embeddings of the class names in the space of the images: give --data with "
            "--network open_clip:ViT-B-32 and --weights PATH of CLIP's two towers"
        }
    pack = from_arrays(arrays)
    known = np.unique(arrays["y_train"])
    kept = np.isin(arrays["y_names"], known)
    names = Prepared(InMemory(arrays["x_names"][kept], np.searchsorted(known, arrays["y_names"][kept])))
    order = np.random.default_rng(0).permutation(len(pack.y))
    few = np.concatenate([order[pack.y[order] == c][:shots] for c in range(pack.classes)])
    core = pack.rows(few, pack.y[few])
    ridge = choose_ridge(core, pack.classes, RIDGES).ridge
    per_round = max(1, names.shape[0] // 20)
    found = curve(
        core, names, pack.test, pack.classes, ridge, loss="hard_margin", per_round=per_round, draws=options.seeds
    )
    errors = {"extend": (100 * found.errors).tolist(), "uniform": (100 * found.uniform.mean(0)).tolist()}
    return {"shots": shots, "sizes": list(found.sizes), "willing": found.willing, **errors}


def overfitting(arrays: Arrays, options: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001 - as the others
    """Leave-one-out error, loss and test error after each step of Reweight."""
    pack, found = from_arrays(arrays), dict[str, Any]()
    rows = pack.rows(np.arange(len(pack.y)), pack.y)
    ridge = choose_ridge(rows, pack.classes, RIDGES).ridge
    for name in ("hard_margin", "calibrated"):
        loss = prepare_loss(name, rows, pack.classes, ridge, None)
        weights, path = torch.ones(len(pack.y), dtype=torch.float64), list[tuple[float, float, float]]()
        for _ in range(STEPS + 1):
            derivative = dataset_derivative(rows, pack.classes, ridge, loss, weights=weights)
            path.append((derivative.loss, loo_error(rows, derivative.model, weights), pack.error(rows, ridge, weights)))
            weights = step(weights, derivative.values, 0.5)
        keys = ("loss", "leave-one-out error", "test error")
        found[name] = {key: [point[i] for point in path] for i, key in enumerate(keys)}
        lowest = int(np.argmin(found[name]["test error"]))
        found[name]["turns after"] = lowest
    return found


def loo_error(rows: Prepared, model: Any, weights: torch.Tensor) -> float:
    """In percent, every row counting once."""
    wrong = 0
    for (z, labels, _), alpha in weighted(rows, weights):
        wrong += int((leave_one_out(z, labels, alpha, model.to(z)).predictions.argmax(1) != labels).sum())
    return 100 * wrong / rows.shape[0]


EXPERIMENTS: dict[str, Callable[[Arrays, argparse.Namespace], dict[str, Any]]] = {
    "table1": table1, "extend": extension, "detection": detection, "augmentation": augmentation,
    "multimodal": multimodal, "overfitting": overfitting,
}  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # such as a data set that must be fetched: which file, and where it goes
        sys.exit(f"benchmarks.paper: {error}")
