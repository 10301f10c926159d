"""Every experiment of the paper on one data set, beside the paper's own figures where the data set is the same.

    python -m benchmarks.paper [--features FILE.npz|digits] [--seeds 5] [--splits 10] [--processes N]
                               [--only NAME …] [--out FILE.json]
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score, roc_auc_score

from benchmarks import baselines, paper_tables, problems
from benchmarks.accuracy import RIDGES, Pack, from_arrays, wrong_labels
from benchmarks.jobs import Arrays, Workers, gathered, mean
from benchmarks.machine import description
from benchmarks.paper_extend import extension
from diva.curation.additions import RoundSettings
from diva.curation.augment import AugmentSettings, ImageVariants, Interleaved, augment, choose_union_ridge
from diva.curation.detect import detect
from diva.curation.evaluation import Head
from diva.curation.multimodal import curve
from diva.curation.reweight import prepare_loss, reweight, step
from diva.numerics.chunks import InMemory
from diva.numerics.derivative import dataset_derivative
from diva.numerics.grid import choose_ridge
from diva.numerics.leave_one_out import leave_one_out
from diva.numerics.normalize import Prepared
from diva.numerics.precision import fit_ridge
from diva.numerics.ridge import weighted

NOISE = 0.2
STEPS = 15  # of the overfitting plot
UNION = (("hard_margin", "untransformed"), ("calibrated", "untransformed"), ("hard_margin", "all"))  # loss, validating


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
    parser.add_argument("--processes", type=int, help="each of one thread; one a core where not given")
    parser.add_argument("--only", nargs="*", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    name, arrays = read(options)
    work = Workers(arrays, options.processes)
    try:
        measure(name, work, options)
    finally:
        work.close()


def measure(name: str, work: Workers, options: argparse.Namespace) -> None:
    """Each experiment in turn; written after each, so that what was measured is not lost."""
    result: dict[str, Any] = about(name, work.arrays) | {"processes": work.processes, "seconds": {}}
    print("\n".join(paper_tables.set_up(result)), flush=True)
    for experiment in options.only:
        start = time.perf_counter()
        result[experiment] = EXPERIMENTS[experiment](work, options)
        result["seconds"][experiment] = round(time.perf_counter() - start, 1)
        print("\n".join(paper_tables.told(experiment, result)), flush=True)
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{sum(result['seconds'].values()):.0f} s in all, {work.processes} processes")
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
    ours = {
        "network": network(name, arrays),
        "classes": pack.classes,
        "training images a class": round(len(pack.y) / pack.classes, 1),
    }
    setup = {"ours": ours, "paper": paper_tables.SETUP.get(known or "")}
    return {
        "pack": name,
        **shape,
        "setup": setup,
        "machine": description(),
        "paper": paper_tables.PAPER.get(known or ""),
    }


def network(name: str, arrays: Arrays) -> str:
    """What made the features: as the pack says, or as its name does."""
    if name == "digits":
        return "none: the pixels"
    if "network" in arrays:
        return f"{arrays['network']}, weights {arrays['weights']}"
    return f"{name.partition('_')[2] or 'unknown'} (by the name of the pack)"


def levels(arrays: Arrays, seeds: int) -> dict[str, list[int | None]]:
    """Levels of noise with the seeds of their draws; real wrong labels, where there are any, are the only level."""
    if "y_train_clean" in arrays:
        return {"as given": [None]}
    return {"0% wrong": [None], f"{NOISE:.0%} wrong": list(range(seeds))}


def drawn_labels(pack: Pack, seed: int | None) -> np.ndarray:
    """The labels as they are, or a draw of wrong ones."""
    return pack.y if seed is None else wrong_labels(pack.y, pack.classes, NOISE, seed)


def table1(work: Workers, options: argparse.Namespace) -> dict[str, Any]:
    """Test errors before and after Reweight, and of the baselines, which are tuned on the first draw of a level."""
    found, names = dict[str, Any](), list(baselines.BASELINES)
    draws = levels(work.arrays, options.seeds)
    tuned = iter(work.each(tune, [(name, seeds[0]) for seeds in draws.values() for name in names]))
    settings = {level: {name: next(tuned) for name in names} for level in draws}
    jobs = [(seed, settings[level]) for level, seeds in draws.items() for seed in seeds]
    errors_of = iter(work.each(one_draw, jobs))
    for level, seeds in draws.items():
        errors = gathered(next(errors_of) for _ in seeds)
        found[level] = {name: with_gain(name, errors) for name in errors}
        found[level]["tuned"] = {name: {"lr": lr, "epochs": epochs} for name, (lr, epochs) in settings[level].items()}
    return found


def tune(arrays: Arrays, name: str, seed: int | None) -> tuple[float, int]:
    """Learning rate and epochs of a baseline."""
    pack = from_arrays(arrays)
    return baselines.tune(pack.x, drawn_labels(pack, seed), pack.classes, name)


def one_draw(arrays: Arrays, seed: int | None, settings: dict[str, tuple[float, int]]) -> dict[str, float]:
    """Test errors by method on one draw of the labels."""
    pack = from_arrays(arrays)
    y = drawn_labels(pack, seed)
    rows = pack.rows(np.arange(len(y)), y)
    ridge = choose_ridge(rows, pack.classes, RIDGES).ridge
    errors = {"ridge regression": pack.error(rows, ridge)}
    for loss, steps in (("hard_margin", 3), ("calibrated", 3), ("calibrated", "auto")):
        weights = reweight(fit_ridge(rows, pack.classes, ridge), loss=loss, steps=steps).weights
        errors[f"Reweight, {loss}, {steps} steps"] = pack.error(rows, ridge, weights)
    known = np.isin(arrays["y_test"], np.unique(arrays["y_train"]))
    test = torch.as_tensor(arrays["x_test"][known]).float(), torch.as_tensor(parts(pack.test))
    for name, setting in settings.items():
        errors[name] = baselines.train(pack.x, y, pack.classes, name, setting, seed or 0).error(*test)
    return errors


def with_gain(name: str, errors: dict[str, list[float]]) -> dict[str, float]:
    """A row of the table; each method against the unweighted model of its own kind."""
    ground = "softmax regression" if name in baselines.BASELINES else "ridge regression"
    return {**mean("error", errors[name]), **mean("gain", np.array(errors[ground]) - np.array(errors[name]))}


def parts(chunks: Prepared) -> np.ndarray:
    """All labels."""
    return np.concatenate([labels.numpy() for _, labels, _ in chunks])


def detection(work: Workers, options: argparse.Namespace) -> dict[str, Any]:
    """The derivative of right and wrong labels; F1 and AUC of the paper's and of our rule."""
    seeds = [None] if "y_train_clean" in work.arrays else list(range(options.seeds))
    found = work.each(one_detection, [(seed,) for seed in seeds])
    rows = gathered(row for row, _ in found)
    means = {name: mean("mean", values) for name, values in rows.items() if name != "wrong"}
    return {**means, "wrong": rows["wrong"][-1], "histogram": found[0][1]}


def one_detection(arrays: Arrays, seed: int | None) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Figures, and the histogram of the derivative, of one draw of wrong labels."""
    pack = from_arrays(arrays)
    right = np.unique(arrays["y_train_clean"], return_inverse=True)[1] if seed is None else pack.y
    y = drawn_labels(pack, seed)
    wrong, data = y != right, pack.rows(np.arange(len(y)), y)
    ridge = choose_ridge(data, pack.classes, RIDGES).ridge
    theirs = detect(fit_ridge(data, pack.classes, ridge), score="derivative", rule="derivative")
    ours = detect(fit_ridge(data, pack.classes, ridge))
    row = {
        "auc of the derivative": roc_auc_score(wrong, theirs.score),
        "f1 at 0": f1_score(wrong, theirs.flagged),
        "auc of soft": roc_auc_score(wrong, ours.score),
        "f1 of the rule rate": f1_score(wrong, ours.flagged),
        "wrong": float(wrong.mean()),
    }
    scores = theirs.score.numpy()
    edges = np.linspace(*np.quantile(scores, [0.005, 0.995]), 41)
    counts = {
        key: np.histogram(scores[which], edges)[0].tolist() for key, which in (("right", ~wrong), ("wrong", wrong))
    }
    return row, {**counts, "edges": edges.tolist()}


def augmentation(work: Workers, options: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001 - as the others
    """The share of the weight that each variant gets, with the images alone and with all validating."""
    names = variants_in(work.arrays)
    if len(names) == 1:
        return {"lacks": "variants of the images: make a pack with `python -m benchmarks.images --variants …`"}
    ridge = choose_union_ridge(union_of(work.arrays), RIDGES)
    found = work.each(one_union, [(ridge, *setting) for setting in UNION])
    told = {f"{loss}, {who} validating": shares for (loss, who), shares in zip(UNION, found, strict=True)}
    return {"ridge": ridge, **told}


def variants_in(arrays: Arrays) -> list[str]:
    """The identity, and the transforms that a pack holds."""
    return ["identity", *(key.removeprefix("x_train_") for key in arrays if key.startswith("x_train_"))]


def union_of(arrays: Arrays) -> ImageVariants:
    """Rows of all variants."""
    pack = from_arrays(arrays)
    files = [arrays["x_train" if name == "identity" else f"x_train_{name}"] for name in variants_in(arrays)]
    return ImageVariants(Interleaved([Prepared(InMemory(x, pack.y, 1024)) for x in files]), pack.classes, len(files))


def one_union(arrays: Arrays, ridge: float, loss: Any, validate_on: Any) -> dict[str, dict[str, float]]:
    """The shares of the variants by one rule."""
    union, names = union_of(arrays), variants_in(arrays)
    draws = 10 if validate_on == "untransformed" else 0
    worth = augment(union, ridge, AugmentSettings(loss=loss, validate_on=validate_on, draws=draws))
    spread = worth.drawn.std(0).tolist() if draws else [0.0] * len(names)
    shares = zip(names, worth.union.probabilities.tolist(), spread, worth.errors.tolist(), strict=True)
    return {
        name: {"probability": share, "spread": deviation, "loo_error": 100 * error}
        for name, share, deviation, error in shares
    }


def multimodal(work: Workers, options: argparse.Namespace, shots: int = 20) -> dict[str, Any]:
    """Test error while names of classes are added to few images."""
    arrays = work.arrays
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
    images = choose_ridge(core, pack.classes, RIDGES).fit()
    each = RoundSettings(max(1, names.shape[0] // 20))
    found = curve(images, names, pack.test, each, loss="hard_margin", draws=options.seeds)
    errors = {"extend": (100 * found.errors).tolist(), "uniform": (100 * found.uniform.mean(0)).tolist()}
    return {"shots": shots, "sizes": list(found.sizes), "willing": found.willing, **errors}


def overfitting(work: Workers, options: argparse.Namespace) -> dict[str, Any]:  # noqa: ARG001 - as the others
    """Leave-one-out error, loss and test error after each step of Reweight."""
    losses = ("hard_margin", "calibrated")
    return dict(zip(losses, work.each(steps_of, [(loss,) for loss in losses]), strict=True))


def steps_of(arrays: Arrays, name: Any) -> dict[str, Any]:
    """The same, by one loss."""
    pack = from_arrays(arrays)
    rows = pack.rows(np.arange(len(pack.y)), pack.y)
    ridge = choose_ridge(rows, pack.classes, RIDGES).ridge
    loss = prepare_loss(name, fit_ridge(rows, pack.classes, ridge))
    weights, path = torch.ones(len(pack.y), dtype=torch.float64), list[tuple[float, float, float]]()
    for _ in range(STEPS + 1):
        derivative = dataset_derivative(fit_ridge(rows, pack.classes, ridge, weights), loss)
        wrong = ~Head(derivative.model, float("nan")).correct(pack.test)
        path.append((derivative.loss, loo_error(rows, derivative.model, weights), 100 * float(wrong.double().mean())))
        weights = step(weights, derivative.values, 0.5)
    keys = ("loss", "leave-one-out error", "test error")
    found: dict[str, Any] = {key: [point[i] for point in path] for i, key in enumerate(keys)}
    return found | {"turns after": int(np.argmin(found["test error"]))}


def loo_error(rows: Prepared, model: Any, weights: torch.Tensor) -> float:
    """In percent, every row counting once."""
    wrong = 0
    for (z, labels, _), alpha in weighted(rows, weights):
        wrong += int((leave_one_out(z, labels, alpha, model.to(z)).predictions.argmax(1) != labels).sum())
    return 100 * wrong / rows.shape[0]


EXPERIMENTS: dict[str, Callable[[Workers, argparse.Namespace], dict[str, Any]]] = {
    "table1": table1, "extend": extension, "detection": detection, "augmentation": augmentation,
    "multimodal": multimodal, "overfitting": overfitting,
}  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:  # such as a data set that must be fetched: which file, and where it goes
        sys.exit(f"benchmarks.paper: {error}")
