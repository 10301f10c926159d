"""cleanlab on out-of-fold probabilities of logistic regression: five folds, rows to unit norm, scikit-learn's C.

Score: 1 − self-confidence (cleanlab's default label quality); flags: find_label_issues with its defaults.
"""

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer

from benchmarks.measured import Work, main


def logistic(C: float = 1.0, normalize: bool = True) -> Work:
    scale = Normalizer() if normalize else FunctionTransformer()

    def work(x, y, seed):
        model = make_pipeline(scale, LogisticRegression(C=C, max_iter=1000))
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        probabilities = cross_val_predict(model, x.astype(np.float32), y, cv=folds, method="predict_proba")
        return {
            "suspicion": 1 - get_label_quality_scores(y, probabilities),
            "flagged": find_label_issues(y, probabilities, n_jobs=1),
        }

    return work


if __name__ == "__main__":
    main(logistic())
