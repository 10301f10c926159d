"""Wrong entries of several labels a sample, and wrong numbers.

    python -m benchmarks.targets --multilabel FILE.npz [FILE.npz …] [--seeds 3] [--out FILE.json]

Each FILE.npz holds x_train (n, p), y_train (n, q) of 0 and 1, x_test, y_test. A tenth of the entries is turned round:
area under the curve, average precision, and precision and recall of the flags, beside logistic regression out of five
folds with the best of three C (chosen by what nobody knows: average precision); what is flagged where nothing was
turned round; and what weights by sample do to test errors where a fifth was: share of wrong entries (Hamming) and mean
average precision, in percent. Numbers: scikit-learn's diabetes, a tenth of them moved by two standard deviations.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from benchmarks.machine import description
from diva.estimators import detect_multilabel, detect_regression, reweight_multilabel

CS = (0.1, 1.0, 10.0)


def found_by(score: np.ndarray, wrong: np.ndarray, flagged: np.ndarray | None = None) -> dict[str, float]:
    """How well scores tell what is wrong, and flags, where there are some."""
    values = {"auroc": roc_auc_score(wrong.ravel(), score.ravel())}
    values["ap"] = average_precision_score(wrong.ravel(), score.ravel())
    if flagged is not None:
        values["precision"], values["recall"] = wrong[flagged].mean() if flagged.any() else 1.0, flagged[wrong].mean()
    return {name: float(value) for name, value in values.items()}


def out_of_fold(x: np.ndarray, y: np.ndarray, C: float, seed: int) -> np.ndarray:
    """1 − the probability of each given entry, by logistic regression of rows of unit norm on each label."""
    model = make_pipeline(Normalizer(), MultiOutputClassifier(LogisticRegression(C=C, max_iter=1000)))
    folds = KFold(5, shuffle=True, random_state=seed)
    p = np.column_stack([each[:, 1] for each in cross_val_predict(model, x, y, cv=folds, method="predict_proba")])
    return np.where(y > 0, 1 - p, p)


def test_errors(pack: Any, y: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
    """Of the ridge head on rows of unit norm, in percent."""
    normalizer = Normalizer()
    head = RidgeCV(alphas=(0.01, 0.1, 1.0, 10.0)).fit(normalizer.transform(pack["x_train"]), y, sample_weight=weights)
    f, truth = head.predict(normalizer.transform(pack["x_test"])), pack["y_test"]
    precision = np.mean([average_precision_score(truth[:, c], f[:, c]) for c in range(truth.shape[1])])
    return {"hamming": 100 * float(((f > 0.5) != (truth > 0)).mean()), "map": 100 * float(precision)}


def multilabel(path: Path, seeds: int) -> dict[str, Any]:
    """Means over the seeds."""
    with np.load(path, allow_pickle=False) as file:
        pack = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    x, y = pack["x_train"], pack["y_train"].astype(int)
    columns: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        wrong = random.random(y.shape) < 0.1
        detection = detect_multilabel(x, y ^ wrong)
        columns.setdefault("diva", []).append(found_by(detection.score, wrong, detection.flagged))
        scores = [found_by(out_of_fold(x, y ^ wrong, C, seed), wrong) for C in CS]
        columns.setdefault("logistic regression", []).append(max(scores, key=lambda each: each["ap"]))
        noisy = y ^ (random.random(y.shape) < 0.2)
        for name, trim in (("weights", False), ("weights, trimmed", True)):
            weights = reweight_multilabel(x, noisy, trim=trim)
            columns.setdefault(name, []).append(test_errors(pack, noisy, weights))
        columns.setdefault("no weights", []).append(test_errors(pack, noisy, None))
    means = {
        name: {key: statistics.mean(run[key] for run in runs) for key in runs[0]} for name, runs in columns.items()
    }
    return means | {"flagged where nothing was turned round": float(detect_multilabel(x, y).flagged.mean())}


def numbers(seeds: int) -> dict[str, Any]:
    """Of the diabetes data, means over the seeds."""
    x, y = load_diabetes(return_X_y=True)
    runs, peers = [], []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        wrong = np.isin(np.arange(len(y)), random.permutation(len(y))[: len(y) // 10])
        moved = y + wrong * 2 * y.std() * random.choice([-1, 1], len(y))
        detection = detect_regression(x, moved)
        wider = detect_regression(x, moved, false_discoveries=0.3).flagged
        flags = found_by(detection.score, wrong, wider)
        runs.append(found_by(detection.score, wrong, detection.flagged))
        runs[-1] |= {"precision at 0.3": flags["precision"], "recall at 0.3": flags["recall"]}
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=(0.1, 1.0, 10.0, 100.0)))
        residual = moved - cross_val_predict(model, x, moved, cv=KFold(5, shuffle=True, random_state=seed))
        peers.append(found_by(np.abs(residual), wrong))
    return {
        name: {key: statistics.mean(run[key] for run in each) for key in each[0]}
        for name, each in (("diva", runs), ("residuals of five folds", peers))
    } | {"flagged where nothing was moved": int(detect_regression(x, y).flagged.sum())}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--multilabel", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {path.stem: multilabel(path, options.seeds) for path in options.multilabel}
    found["diabetes"] = numbers(5 * options.seeds)
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps({"machine": description(), **found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
