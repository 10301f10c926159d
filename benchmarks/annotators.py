"""Several annotators: how many labels of their consensus are wrong, and whether it is known which.

    python -m benchmarks.annotators --features FILE.npz --annotators FILE.npz [--rows 4000] [--out FILE.json]

The first file holds x_train (n, p) and y_train_clean, the second annotators (n, A). Wrong labels are counted of the
plurality and of the consensus, in percent; areas under the curve say how well wrong labels of the plurality are told
by disagreement alone, by the model alone, and by both; ``quality`` is each annotator's, estimated and true.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.machine import description
from diva.curation.annotators import consensus
from diva.curation.detect import detect
from diva.numerics.chunks import InMemory
from diva.numerics.grid import choose_ridge
from diva.numerics.normalize import Prepared


def measure(x: np.ndarray, truth: torch.Tensor, votes: torch.Tensor) -> dict[str, Any]:
    """Of n rows, their true labels, and votes (n, A)."""
    classes = int(truth.max()) + 1
    agreed = consensus(Prepared(InMemory(x, np.zeros(len(x), dtype=np.int64))), votes, classes)
    alone = detect(choose_ridge(Prepared(InMemory(x, agreed.plurality)), classes).fit()).score
    disagreement = (votes != agreed.plurality[:, None]).double().mean(1)
    wrong = agreed.plurality != truth
    scores = {"disagreement": disagreement, "model": alone, "both": agreed.wrong}
    still = (agreed.label != truth).double()
    return {
        "wrong by vote": 100 * float(wrong.double().mean()),
        "wrong by consensus": 100 * float(still.mean()),
        "auroc": {name: float(roc_auc_score(wrong, score)) for name, score in scores.items()},
        "wrong among the 10 % worth another vote first": 100 * float(still[agreed.next_vote[: len(x) // 10]].mean()),
        "quality": agreed.quality.tolist(),
        "interval": agreed.interval.tolist(),
        "true quality": (votes == truth[:, None]).double().mean(0).tolist(),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--annotators", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    n = options.rows
    with np.load(options.features, allow_pickle=False) as pack, np.load(options.annotators, allow_pickle=False) as said:
        x, truth, votes = pack["x_train"][:n], pack["y_train_clean"][:n], said["annotators"][:n]
    found = measure(x, torch.from_numpy(truth).long(), torch.from_numpy(votes).long())
    print("\n".join(f"{name:46} {value}" for name, value in found.items()))
    if options.out:
        options.out.write_text(json.dumps({"machine": description(), "rows": n, **found}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
