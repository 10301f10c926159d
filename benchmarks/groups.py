"""Samples that belong together: labels found, and samples added, where views of one image share their wrong label.

Flowers-102, three mild crops each of 445 images; a fifth of the images carry a wrong label that their views share. What
is found with the views' groups given, with none given, and left out one by one, beside one view of each image. Then
whether rows that are independent are told to belong together (never), in 20 draws of noise each. Then Extend: half of
the images of each class as the core, the others the pool, 30 % of which are wrong.

    python -m benchmarks.groups [--out FILE]
"""

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.metrics import precision_score, recall_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from benchmarks.machine import description
from diva.estimators import DivaClassifier, detect, extend

DATA = Path(__file__).parents[2] / "shared" / "data" / "features"
RESULTS = Path(__file__).parent / "results" / "groups.json"
SEEDS = range(5)
DRAWS = range(20)


def noisy(labels: Any, rate: float, seed: int, images: Any = None) -> tuple[Any, Any]:
    """Labels of which a share is another class, the same for all views of an image; and which are wrong."""
    units = np.arange(len(labels)) if images is None else images
    classes, generator = labels.max() + 1, np.random.default_rng(seed)
    wrong, shift = generator.random(units.max() + 1) < rate, generator.integers(1, classes, units.max() + 1)
    return np.where(wrong[units], (labels + shift[units]) % classes, labels), wrong[units]


def views() -> tuple[Any, Any, Any]:
    """Features of all views, their labels, their images."""
    with np.load(DATA / "flowers102_views_mobilenetv2.npz", allow_pickle=False) as file:
        features, labels = file["views"].astype(np.float32), np.unique(file["labels"], return_inverse=True)[1]
    return features.reshape(-1, features.shape[2]), labels.repeat(3), np.arange(len(labels)).repeat(3)


def quality(found: Any, wrong: Any) -> dict[str, float]:
    """AUROC of the scores, precision and recall of the flags."""
    return {
        "auroc": roc_auc_score(wrong, np.nan_to_num(found.score, nan=0.5)),
        "precision": precision_score(wrong, found.flagged, zero_division=0),
        "recall": recall_score(wrong, found.flagged),
    }


def fires(function: Callable[[], Any]) -> tuple[Any, bool]:
    """A result, and whether its function warned that samples belong together."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function()
    return result, any("belong together" in str(warning.message) for warning in caught)


def detection(seed: int) -> dict[str, dict[str, float]]:
    """One draw of wrong labels."""
    features, labels, images = views()
    given, wrong = noisy(labels, 0.2, seed, images)
    one = slice(None, None, 3)
    nobody, fired = fires(lambda: detect(features, given))
    return {
        "one view of each image": quality(fires(lambda: detect(features[one], given[one]))[0], wrong[one]),
        "groups given": quality(detect(features, given, groups=images), wrong),
        "no groups given": quality(nobody, wrong) | {"fires": float(fired)},
        "one by one": quality(fires(lambda: detect(features, given, groups="never"))[0], wrong),
    }


def extension(seed: int) -> dict[str, dict[str, float]]:
    """One split and draw of wrong labels in the pool: how many are added, and which share of them is wrong."""
    features, labels, images = views()
    order, core = np.random.default_rng(seed).permutation(images.max() + 1), np.zeros(len(labels), dtype=bool)
    for label in range(labels.max() + 1):
        core[np.isin(images, order[labels[::3][order] == label][:3])] = True
    bad, wrong = noisy(labels, 0.3, seed, images)
    given = np.where(core, labels, bad)
    wrong = wrong & ~core
    with np.load(DATA / "flowers102_mobilenetv2.npz", allow_pickle=False) as file:
        test, truth = file["x_test"].astype(np.float32), np.unique(file["y_test"], return_inverse=True)[1]
    result = {}
    for name, rows, groups in (
        ("one view of each image", np.arange(len(labels)) % 3 == 0, None),
        ("groups given", np.ones(len(labels), dtype=bool), images),
        ("one by one", np.ones(len(labels), dtype=bool), None),
    ):
        inside, pool = rows & core, rows & ~core
        arguments = (features[inside], given[inside], features[pool], given[pool])
        both = {"groups": "never"} if groups is None else {"groups": groups[inside], "groups_pool": groups[pool]}
        added = extend(*arguments, **both)
        X, y = (
            np.concatenate([arguments[0], arguments[2][added.index]]),
            np.concatenate([arguments[1], arguments[3][added.index]]),
        )
        together = "never" if groups is None else np.concatenate([groups[inside], groups[pool][added.index]])
        model = DivaClassifier().fit(X, y, groups=together)
        result[name] = {
            "added": float(len(added.index)),
            "wrong among added": float(wrong[pool][added.index].mean()) if len(added.index) else 0.0,
            "error": 1 - model.score(test, truth),
        }
    return result


def independent() -> Iterator[tuple[str, Any, Any]]:
    """Sets whose rows are independent: name, features, labels."""
    with np.load(DATA / "flowers102_mobilenetv2.npz", allow_pickle=False) as file:
        yield "Flowers-102", file["x_train"].astype(np.float32), np.unique(file["y_train"], return_inverse=True)[1]
    yield "digits", *load_digits(return_X_y=True)
    for name, load in (("wine", load_wine), ("breast cancer", load_breast_cancer)):
        features, labels = load(return_X_y=True)
        yield name, StandardScaler().fit_transform(features), labels
    with np.load(DATA / "cifar10n_random1_mobilenetv2.npz", allow_pickle=False) as file:
        yield "CIFAR-10N", file["x_train"].astype(np.float32), file["y_train"].astype(int)


def summary(draws: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation of each figure."""
    return {
        name: {
            key: [float(np.mean([d[name][key] for d in draws])), float(np.std([d[name][key] for d in draws], ddof=1))]
            for key in draws[0][name]
        }
        for name in draws[0]
    }


def alarms(features: Any, labels: Any) -> int:
    """In how many of 20 draws of noise, from 0 to 38 %, rows are told to belong together."""
    given = [noisy(labels, 0.02 * seed, seed)[0] for seed in DRAWS]
    return sum(fires(partial(detect, features, draw))[1] for draw in given)


def main() -> None:
    """Measure, print, and write the results after each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    results: dict[str, Any] = {"machine": description(), "alarms": {}}

    def write() -> None:
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    results["detection"] = show("Wrong labels found", [detection(seed) for seed in SEEDS])
    write()
    for name, features, labels in independent():
        results["alarms"][name] = alarms(features, labels)
        print(f"{name}: told to belong together in {results['alarms'][name]} of {len(DRAWS)} draws", flush=True)
        write()
    results["extension"] = show("Extend", [extension(seed) for seed in SEEDS])
    write()


def show(title: str, draws: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Print a table, return it with its draws."""
    table = summary(draws)
    print(f"\n{title} (mean ± standard deviation of {len(draws)} draws)")
    for name, figures in table.items():
        print(
            f"  {name:24s}",
            "  ".join(f"{key} {mean:.3f} ± {sd:.3f}" for key, (mean, sd) in figures.items()),
            flush=True,
        )
    return {"mean and sd": table, "draws": draws}


if __name__ == "__main__":
    main()
