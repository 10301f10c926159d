"""cleanlab's CleanLearning for numbers, on the draws of `benchmarks.targets`: ridge regression, its own settings.

Run it as a module, with the repository on PYTHONPATH, by the Python of the peers' environment of cleanlab.
"""

import json

import numpy as np
from cleanlab.regression.learn import CleanLearning
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

DRAWS = 15


def draw(x, y, seed):
    """Area under the curve, precision and recall of the flags; a tenth of the numbers moved by two deviations."""
    random = np.random.default_rng(seed)
    wrong = np.isin(np.arange(len(y)), random.permutation(len(y))[: len(y) // 10])
    moved = y + wrong * 2 * y.std() * random.choice([-1, 1], len(y))
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=(0.1, 1.0, 10.0, 100.0)))
    issues = CleanLearning(model, seed=seed, verbose=False).find_label_issues(x, moved)
    flagged = issues["is_label_issue"].to_numpy()
    auroc = roc_auc_score(wrong, -issues["label_quality"].to_numpy())
    return auroc, wrong[flagged].mean() if flagged.any() else 1.0, flagged[wrong].mean()


if __name__ == "__main__":
    means = np.mean([draw(*load_diabetes(return_X_y=True), seed) for seed in range(DRAWS)], axis=0)
    print(json.dumps(dict(zip(("auroc", "precision", "recall"), means.tolist(), strict=True)), indent=1))
